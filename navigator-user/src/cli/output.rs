//! Standard output: data, and nothing else.

use super::{
    args::Format,
    failure::{Failure, Outcome},
};
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
};

/// Whether anybody still reads standard output: `navigator vips | head -1` is no error.
pub(super) type Reader = ControlFlow<()>;

/// Prints text as it is.
pub(super) fn print(text: &str) -> Outcome<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::error(format!("standard output: {error}"))),
    }
}

/// Prints one of several states of the same thing: in place on a terminal, else one
/// after the other with an empty line between them (JSON without).
pub(super) fn print_frame(text: &str, format: Format) -> Outcome<Reader> {
    if io::stdout().is_terminal() {
        return print(&in_place(text));
    }
    match format {
        Format::Json => print(text),
        Format::Yaml => print(&format!("---\n{text}")),
        Format::Table | Format::Wide => print(&format!("{text}\n")),
    }
}

// Lines are overwritten, not cleared first: a screen that is cleared flickers.
fn in_place(text: &str) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let mut frame = HOME.to_owned();
    for line in text.lines() {
        frame.push_str(line);
        frame.push_str(CLEAR_TO_END_OF_LINE);
        frame.push('\n');
    }
    frame + CLEAR_BELOW
}

/// A JSON document: of many lines for one, of one line for a stream of them.
pub(super) fn json(value: &impl Serialize, stream: bool) -> Outcome<String> {
    let text = if stream {
        serde_json::to_string(value)
    } else {
        serde_json::to_string_pretty(value)
    };
    text.map(|text| text + "\n")
        .map_err(|error| Failure::error(format!("cannot be written as JSON: {error}")))
}

/// One of a stream of documents, each set apart from the one before.
pub(super) fn stream_of(value: &impl Serialize, format: Format) -> Outcome<String> {
    let text = document(value, format, true)?;
    Ok(match format {
        Format::Yaml => format!("---\n{text}"),
        _ => text,
    })
}

/// A document in a format for programs; with `stream` one of many.
pub(super) fn document(value: &impl Serialize, format: Format, stream: bool) -> Outcome<String> {
    if format != Format::Yaml {
        return json(value, stream);
    }
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::error(format!("cannot be written as YAML: {error}")))?;
    Ok(super::yaml::document(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before() {
        assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
