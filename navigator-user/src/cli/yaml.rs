//! JSON values as YAML: in blocks, with all texts in JSON's quotation marks, which are YAML's, too.

use serde_json::Value;

/// A document, ending with a line feed.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a value behind what is there: on lines of its own, or on the same line if it has none.
fn write(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                begin_line(text, depth);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                member(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                begin_line(text, depth);
                text.push('-');
                member(text, item, depth + 1);
            }
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn member(text: &mut String, value: &Value, depth: usize) {
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    text.push(if nested { '\n' } else { ' ' });
    write(text, value, depth);
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

fn begin_line(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_blocks() {
        let value = serde_json::json!({
            "a": [1, {"b": "x: y\n#", "c": []}, [true]],
            "d": {}, "e": null, "f": "no",
        });
        assert_eq!(
            document(&value),
            "\
\"a\":
  - 1
  -
    \"b\": \"x: y\\n#\"
    \"c\": []
  -
    - true
\"d\": {}
\"e\": null
\"f\": \"no\"
"
        );
        assert_eq!(document(&Value::from("x")), "\"x\"\n");
    }
}
