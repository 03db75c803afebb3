//! Fields of a JSON value.

use super::{BadDuration, Flaw, MAX_VALUE, RejectReason, parse_duration};
use serde_json::{Map, Value};
use std::{fmt::Display, ops::RangeInclusive, time::Duration};

/// The fields of one object, and the reason that flaws in them go by.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// What the object is called in messages, for example `check.`.
    prefix: &'a str,
    reason: RejectReason,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, prefix: &'a str, reason: RejectReason) -> Self {
        Self {
            map,
            prefix,
            reason,
        }
    }

    /// The same fields, their flaws under another reason.
    pub(super) fn under(self, reason: RejectReason) -> Self {
        Self { reason, ..self }
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn flaw(&self, name: &str, value: impl Display, cure: impl Display) -> Flaw {
        let value = shorten(&value.to_string());
        self.reason
            .because(format!("{}{name} {value}: {cure}", self.prefix))
    }

    pub(super) fn missing(&self, name: &str) -> Flaw {
        self.reason
            .because(format!("{}{name} is missing", self.prefix))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Flaw> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.flaw(name, other, "must be a string")),
        }
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Flaw> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = range.into_inner();
                let cure = format_args!("must be a whole number from {least} to {most}");
                Err(self.flaw(name, value, cure))
            }
        }
    }

    pub(super) fn port(&self, name: &str) -> Result<Option<u16>, Flaw> {
        Ok(self.number(name, 1..=65_535)?.map(|port| port as u16))
    }

    pub(super) fn duration(
        &self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, Flaw> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let duration = parse_duration(text).map_err(|BadDuration(text)| {
            let cure = "write a whole number and a unit, such as 500ms, 5s, 2m or 1h";
            self.flaw(name, format_args!("{text:?}"), cure)
        })?;
        if range.contains(&duration) {
            return Ok(Some(duration));
        }
        let (least, most) = range.into_inner();
        let [least, most] = [least, most].map(super::format_duration);
        let cure = format_args!("must be from {least} to {most}");
        Err(self.flaw(name, text, cure))
    }

    /// One of several words, each with what it stands for.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Flaw> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let cure = format_args!("must be one of {}", known.join(", "));
        Err(self.flaw(name, format_args!("{text:?}"), cure))
    }
}

/// Reads an object, having looked at its size first.
pub(super) fn parse_object(value: &[u8]) -> Result<Map<String, Value>, Flaw> {
    check_size(value)?;
    match serde_json::from_slice(value) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(RejectReason::BadJson.because("the value is JSON, but not an object")),
        Err(error) => Err(bad_json(&error)),
    }
}

pub(super) fn check_size(value: &[u8]) -> Result<(), Flaw> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(RejectReason::TooLarge.because(format!(
        "the value has {} bytes: at most {MAX_VALUE} are read",
        value.len()
    )))
}

pub(super) fn bad_json(error: &serde_json::Error) -> Flaw {
    RejectReason::BadJson.because(format!("the value is not JSON: {error}"))
}

/// A text cut to a length that a log line can bear.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}
