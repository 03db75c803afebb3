//! Log output: text for a terminal, JSON lines for everything else, always on
//! stderr. What is logged is chosen by `--log` or the variable [`VARIABLE`].

use std::{env, io::IsTerminal};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The environment variable that chooses what is logged, unless `--log` does.
pub const VARIABLE: &str = "NAVIGATOR_LOG";
/// What is logged when nobody chose.
pub const DEFAULT: &str = "info";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The choice of what is logged is not understood.
    #[error(
        "{origin} = {value:?}: not a log filter ({why}); use error, warn, info, debug or trace, \
         also for one module, for example \"info,navigator_user::probes=debug\""
    )]
    BadFilter {
        /// `--log` or [`VARIABLE`].
        origin: &'static str,
        /// What was given.
        value: String,
        /// Why it is not understood.
        why: String,
    },
    /// Logging was set up before.
    #[error("logging is already set up in this process")]
    Twice,
}

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// For people; with colours or not.
    Text { colours: bool },
    /// One JSON object a line: `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

/// Sets up logging for the whole process. `choice` is the value of `--log`;
/// without one [`VARIABLE`] counts, then [`DEFAULT`].
///
/// # Errors
/// If the choice is not understood, or logging was set up before.
pub fn init(choice: Option<&str>) -> Result<(), LoggingError> {
    let filter = choose(choice, env::var(VARIABLE).ok())?;
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let format = format_for(std::io::stderr().is_terminal(), no_color);
    let layer = lines(format, std::io::stderr).with_filter(filter);
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|_| LoggingError::Twice)
}

fn choose(option: Option<&str>, variable: Option<String>) -> Result<EnvFilter, LoggingError> {
    let (origin, value) = match (option, variable) {
        (Some(value), _) => ("--log", value.to_owned()),
        (None, Some(value)) if !value.is_empty() => (VARIABLE, value),
        (None, _) => ("default", DEFAULT.to_owned()),
    };
    EnvFilter::builder()
        .parse(&value)
        .map_err(|error| LoggingError::BadFilter {
            origin,
            why: error.to_string(),
            value,
        })
}

const fn format_for(terminal: bool, no_color: bool) -> Format {
    if terminal {
        Format::Text { colours: !no_color }
    } else {
        Format::Json
    }
}

fn lines<W>(format: Format, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        Format::Text { colours } => fmt::layer().with_writer(writer).with_ansi(colours).boxed(),
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written in `format` for what `choice` lets through.
    fn logged(format: Format, choice: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = choose(Some(choice), None).unwrap();
        let layer = lines(format, move || writer.clone()).with_filter(filter);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_message_and_fields() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(vip = "web", slots = 7, "table\nwritten");
            tracing::debug!("not chosen");
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(line["message"], "table\nwritten");
        assert_eq!(line["level"], "INFO");
        assert_eq!((&line["vip"], &line["slots"]), (&"web".into(), &7.into()));
        assert!(line["timestamp"].is_string() && line["target"].is_string());
    }

    #[test]
    fn text_has_colours_only_where_they_are_wanted() {
        let say = || tracing::warn!(vip = "web", "no backend");
        let plain = logged(Format::Text { colours: false }, "info", say);
        assert!(plain.contains("no backend") && plain.contains("web"));
        assert!(!plain.contains('\x1b'), "{plain:?}");
        let coloured = logged(Format::Text { colours: true }, "info", say);
        assert!(coloured.contains('\x1b'));
    }

    #[test]
    fn one_module_can_be_chosen() {
        let text = logged(Format::Json, "off,navigator_user=debug", || {
            tracing::debug!("mine");
            tracing::error!(target: "other", "theirs");
        });
        assert!(text.contains("mine") && !text.contains("theirs"), "{text}");
    }

    #[test]
    fn the_option_counts_before_the_variable_and_both_before_the_default() {
        let chosen = |option, variable: Option<&str>| {
            choose(option, variable.map(Into::into))
                .unwrap()
                .to_string()
        };
        assert_eq!(chosen(Some("debug"), Some("warn")), "debug");
        assert_eq!(chosen(None, Some("warn")), "warn");
        assert_eq!(chosen(None, Some("")), "info");
        assert_eq!(chosen(None, None), "info");
    }

    #[test]
    fn a_bad_choice_names_where_it_came_from_and_the_cure() {
        let error = choose(None, Some("navigator=loud".into()))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(r#"NAVIGATOR_LOG = "navigator=loud": not a log filter"#));
        assert!(error.contains("use error, warn, info"), "{error}");
        let error = choose(Some("a=b=c"), None).unwrap_err().to_string();
        assert!(error.starts_with("--log = "), "{error}");
    }

    #[test]
    fn a_terminal_gets_text_and_everything_else_json() {
        assert_eq!(format_for(true, false), Format::Text { colours: true });
        assert_eq!(format_for(true, true), Format::Text { colours: false });
        assert_eq!(format_for(false, false), Format::Json);
    }
}
