//! TOML values as JSON.

use super::problem::Complaint;
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// The same value in JSON; times and numbers that JSON does not have are refused.
pub(super) fn from_toml(value: &DeValue<'_>) -> Result<Value, Complaint> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Number(parsed.map_err(|_| unfit("a number out of bounds"))?.into())
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or_else(|| unfit("not a finite number"))?)
        }
        DeValue::Datetime(_) => return Err(unfit("a date or time")),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| from_toml(item.get_ref()));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Object(from_table(table)?),
    })
}

/// The same table in JSON.
fn from_table(table: &DeTable<'_>) -> Result<Map<String, Value>, Complaint> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Ok((key.to_string(), from_toml(value.get_ref())?))
    };
    table.iter().map(entry).collect()
}

fn unfit(what: &str) -> Complaint {
    Complaint::new(
        what,
        "registry entries are JSON: write it as a text, in quotation marks",
    )
}
