//! What the registry's rules have against a block, all of it, each at its key.

use crate::config::reader::Section;
use navigator_core::entry::Rejection;
use serde_json::{Map, Value};

/// A JSON object that is on its way to become an entry.
pub(super) type Json = Map<String, Value>;

/// A block under judgement.
pub(super) struct Case<'c, 'r, 'i> {
    /// Where it stands.
    pub(super) section: &'c Section<'r, 'i>,
    /// What its fields are called in the rules' complaints, before their names.
    pub(super) prefix: &'c str,
    /// The fields that stand in the file as they are.
    pub(super) fields: &'c [&'static str],
    /// The key to blame for anything else.
    pub(super) main_key: &'c str,
    /// Values for fields that must be there, sure to be good.
    pub(super) stand_ins: &'c [(&'c str, Value)],
}

impl Case<'_, '_, '_> {
    /// Puts `value` before the rules. They name the first thing that is wrong;
    /// it is taken out, or replaced by a stand-in, and they are asked again,
    /// until nothing is left to complain of. What they made of it, if all was well.
    pub(super) fn judge<T>(
        &self,
        mut value: Json,
        rules: impl Fn(&Json) -> Result<T, Rejection>,
    ) -> Option<T> {
        let mut sound = true;
        for (key, stand_in) in self.stand_ins {
            if !self.section.has(key) {
                self.section.require(key, stand_in);
                value.insert((*key).to_owned(), stand_in.clone());
                sound = false;
            }
        }
        // Each round mends a field, so there are at most as many as fields.
        for _ in 0..=value.len() {
            match rules(&value) {
                Ok(good) => return sound.then_some(good),
                Err(rejection) => {
                    sound = false;
                    if !self.mend(&mut value, &rejection.detail) {
                        break;
                    }
                }
            }
        }
        None
    }

    /// Tells one complaint and takes its cause out; `false` if that cannot be done.
    fn mend(&self, value: &mut Json, detail: &str) -> bool {
        let field = detail.split(' ').next().unwrap_or("");
        let field = field.strip_prefix(self.prefix).unwrap_or(field);
        let field = field.split('.').next().unwrap_or("");
        if !self.fields.contains(&field) || !value.contains_key(field) {
            self.section.complain(self.main_key, detail, "");
            return false;
        }
        // Field and value are named by the place already: what remains is what to do.
        let (_, cure) = detail.rsplit_once(": ").unwrap_or(("", detail));
        self.section.complain(field, cure, "");
        match self.stand_ins.iter().find(|(key, _)| *key == field) {
            Some((_, good)) => value.insert(field.to_owned(), good.clone()),
            None => value.remove(field),
        };
        true
    }
}

/// An entry's value in bytes.
pub(super) fn bytes(value: &Json) -> Vec<u8> {
    Value::Object(value.clone()).to_string().into_bytes()
}
