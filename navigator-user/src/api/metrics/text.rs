//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// What a family's values mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, but for restarts.
    Counter,
}

/// An exposition in the making.
#[derive(Default)]
pub(super) struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    /// Begins a family, named without the prefix `navigator_`.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.family = name;
        self.push(format_args!("# HELP navigator_{name} {help}\n"));
        self.push(format_args!("# TYPE navigator_{name} {kind}\n"));
        self
    }

    /// Adds a sample to the family that was begun last.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let family = self.family;
        self.push(format_args!("navigator_{family}"));
        for (index, (name, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.push(format_args!("{open}{name}=\"{}\"", escape(text)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{close} {value}\n"));
        self
    }

    /// The exposition.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(text);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_help_type_and_escaped_labels() {
        let mut text = Text::default();
        text.family("things", Kind::Counter, "Things seen.")
            .sample(&[], 1)
            .sample(&[("a", "x"), ("b", "q\"\\\n")], 0.5);
        assert_eq!(
            text.finish(),
            "# HELP navigator_things Things seen.\n\
             # TYPE navigator_things counter\n\
             navigator_things 1\n\
             navigator_things{a=\"x\",b=\"q\\\"\\\\\\n\"} 0.5\n"
        );
    }
}
