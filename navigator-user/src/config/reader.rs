//! Reads a TOML tree key by key. What is wrong is collected with its place,
//! and reading goes on; what nobody asked for is an unknown key.

use super::{
    json,
    problem::{Complaint, Problem, near_miss},
};
use std::{cell::RefCell, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A value with its place.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The text that is read, and what was found wrong with it so far.
pub(super) struct Reader<'i> {
    text: &'i str,
    /// Where each line begins.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

/// Characters of a value that a message shows.
const SHOWN: usize = 60;
/// Problems that are told; nobody reads more.
const TOLD: usize = 256;

impl<'i> Reader<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self {
            text,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// What was found wrong, and what looks wrong, in the order of the places.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |found: RefCell<Vec<Problem>>| {
            let mut found = found.into_inner();
            found.sort();
            found.dedup();
            found
        };
        (sorted(self.problems), sorted(self.warnings))
    }

    /// The text is not TOML.
    pub(super) fn bad_syntax(&self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(self.text.len()..self.text.len());
        let complaint = Complaint::new(error.message(), "");
        self.bad_key("", span, complaint);
    }

    /// A value is wrong.
    pub(super) fn bad_value(&self, key: &str, span: Range<usize>, complaint: Complaint) {
        let value = self.shown(&span);
        self.push(&self.problems, span, key, value, complaint);
    }

    /// A key is wrong, missing, or not known.
    pub(super) fn bad_key(&self, key: &str, span: Range<usize>, complaint: Complaint) {
        self.push(&self.problems, span, key, String::new(), complaint);
    }

    /// Something looks wrong.
    pub(super) fn warn(&self, key: &str, span: Range<usize>, complaint: Complaint) {
        let value = self.shown(&span);
        self.push(&self.warnings, span, key, value, complaint);
    }

    fn push(
        &self,
        list: &RefCell<Vec<Problem>>,
        span: Range<usize>,
        key: &str,
        value: String,
        complaint: Complaint,
    ) {
        let mut list = list.borrow_mut();
        if list.len() > TOLD {
            return;
        }
        if list.len() == TOLD {
            list.push(Problem {
                place: None,
                key: String::new(),
                value: String::new(),
                what: format!("more than {TOLD} problems, these are the first that were found"),
                cure: "put them right and check again".into(),
            });
            return;
        }
        list.push(Problem {
            place: Some(self.place(span.start)),
            key: key.to_owned(),
            value,
            what: complaint.what,
            cure: complaint.cure,
        });
    }

    /// Line and column of a byte, from 1; columns count characters.
    fn place(&self, byte: usize) -> (usize, usize) {
        let row = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines.get(row - 1).copied().unwrap_or(0);
        let before = self.text.get(start..byte).unwrap_or("");
        (row, 1 + before.chars().count())
    }

    /// A value as it was written: the beginning of its first line.
    fn shown(&self, span: &Range<usize>) -> String {
        let written = self.text.get(span.clone()).unwrap_or("");
        let line = written.lines().next().unwrap_or("");
        let mut shown: String = line.chars().take(SHOWN).collect();
        if shown.len() < written.trim_end().len() {
            shown.push('…');
        }
        shown
    }
}

/// One table while it is read.
pub(super) struct Section<'r, 'i> {
    pub(super) reader: &'r Reader<'i>,
    /// Keys that lead to it, with dots between them; empty for the whole file.
    path: String,
    /// Where it stands.
    span: Range<usize>,
    table: &'r DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'r, 'i> Section<'r, 'i> {
    pub(super) fn new(
        reader: &'r Reader<'i>,
        path: impl Into<String>,
        span: Range<usize>,
        table: &'r DeTable<'i>,
    ) -> Self {
        Self {
            reader,
            path: path.into(),
            span,
            table,
            asked: Vec::new(),
        }
    }

    /// The full name of one of its keys.
    pub(super) fn name_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// The value of a key, if it is there; from now on the key is known.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'r Value<'i>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// The value of a key as `parse` understands it; `None` if it is absent or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'i>) -> Result<T, Complaint>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.parsed(key, value, parse)
    }

    /// The elements of an array that `parse` understands; `None` if it is absent or no array.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'i>) -> Result<T, Complaint>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.complain(key, "not a list", "put it in square brackets: [ … ]");
            return None;
        };
        let parsed = array.iter().map(|item| self.parsed(key, item, &parse));
        Some(parsed.flatten().collect())
    }

    /// A table below this one; `None` if it is absent or something else.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'r, 'i>> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.below(key, value.span(), table)),
            None => {
                let cure = format!(
                    "write it as a block that begins with [{}]",
                    self.name_of(key)
                );
                self.complain(key, "not a table", cure);
                None
            }
        }
    }

    /// The tables of a list below this one; none if it is absent or something else.
    pub(super) fn tables(&mut self, key: &'static str, cure: &str) -> Vec<Section<'r, 'i>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.complain(key, "not a list of tables", cure);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(self.below(key, item.span(), table)),
                None => {
                    let complaint = Complaint::new("not a table", cure);
                    self.reader
                        .bad_value(&self.name_of(key), item.span(), complaint);
                }
            }
        }
        sections
    }

    /// Says what is wrong with the value of a key, or, when it is absent, with its absence.
    pub(super) fn complain(&self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        let complaint = Complaint::new(what, cure);
        let name = self.name_of(key);
        match self.table.get(key) {
            Some(value) => self.reader.bad_value(&name, value.span(), complaint),
            None => self.reader.bad_key(&name, self.span.clone(), complaint),
        }
    }

    /// Warns of the value of a key.
    pub(super) fn warn(&self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        if let Some(value) = self.table.get(key) {
            let complaint = Complaint::new(what, cure);
            self.reader
                .warn(&self.name_of(key), value.span(), complaint);
        }
    }

    /// Says so if a key is absent.
    pub(super) fn require(&self, key: &str, example: &serde_json::Value) {
        if !self.has(key) {
            self.complain(
                key,
                "missing",
                format!("add it, for example {key} = {example}"),
            );
        }
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Those of `keys` that are there, as JSON; what has no JSON form is a problem.
    pub(super) fn json(&self, keys: &[&str]) -> serde_json::Map<String, serde_json::Value> {
        let entry = |key: &&str| {
            let json = self.parsed(key, self.table.get(*key)?, json::from_toml)?;
            Some(((*key).to_owned(), json))
        };
        keys.iter().filter_map(entry).collect()
    }

    /// Every key that nobody asked for is a problem.
    pub(super) fn unknown_keys(&self) {
        for key in self.table.keys() {
            let word = key.get_ref().as_ref();
            if self.asked.contains(&word) {
                continue;
            }
            let cure = match near_miss(word, &self.asked) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("known here are {}", self.asked.join(", ")),
            };
            let shown: String = word
                .chars()
                .flat_map(char::escape_debug)
                .take(SHOWN)
                .collect();
            let complaint = Complaint::new("unknown key", cure);
            self.reader
                .bad_key(&self.name_of(&shown), key.span(), complaint);
        }
    }

    fn parsed<T>(
        &self,
        key: &str,
        value: &Value<'i>,
        parse: impl FnOnce(&DeValue<'i>) -> Result<T, Complaint>,
    ) -> Option<T> {
        parse(value.get_ref())
            .map_err(|complaint| {
                self.reader
                    .bad_value(&self.name_of(key), value.span(), complaint);
            })
            .ok()
    }

    fn below(&self, key: &str, span: Range<usize>, table: &'r DeTable<'i>) -> Self {
        Section::new(self.reader, self.name_of(key), span, table)
    }
}
