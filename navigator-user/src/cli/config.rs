//! `navigator config check`: is this configuration sound?

use super::failure::Exit;
use crate::config::{Config, Problem};
use std::{
    io::{Write, stderr, stdout},
    path::Path,
    process::ExitCode,
};

/// Checks a configuration file. A sound one is summed up on stdout and what
/// looks wrong in it is told on stderr; everything that is wrong goes to
/// stderr, and the exit code is that of a check that failed.
pub fn check(path: &Path) -> ExitCode {
    let (summary, remarks) = judge(path);
    // Nobody can be told that nobody listens.
    let _ = stderr().write_all(remarks.as_bytes());
    match summary {
        Some(summary) => {
            let _ = writeln!(stdout(), "{summary}");
            ExitCode::SUCCESS
        }
        None => Exit::CheckFailed.into(),
    }
}

/// The summary of a sound file, and the lines for stderr.
fn judge(path: &Path) -> (Option<String>, String) {
    match Config::load(path) {
        Ok(config) => {
            let warn =
                |warning: &Problem| format!("warning: {}\n", warning.line(&config.source_name));
            let warnings = config.warnings.iter().map(warn).collect();
            (Some(summary(&config)), warnings)
        }
        Err(error) => (None, format!("{error}\n")),
    }
}

fn summary(config: &Config) -> String {
    format!(
        "{}: ok ({}, {}, registry {})",
        config.source_name,
        counted(config.vip_count(), "VIP"),
        counted(config.instance_count(), "instance"),
        config.registry.kind()
    )
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn judged(text: &str) -> (String, Option<String>, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let (summary, remarks) = judge(file.path());
        (file.path().display().to_string(), summary, remarks)
    }

    #[test]
    fn a_sound_file_is_summed_up_and_its_oddities_are_told() {
        let (file, summary, remarks) = judged(
            "interfaces = [\"eth0\"]\n\
             [[vip]]\nname = \"web\"\naddress = \"192.0.2.1\"\nport = 80\nservice = \"web\"\n",
        );
        let expected = format!("{file}: ok (1 VIP, 0 instances, registry embedded)");
        assert_eq!(summary, Some(expected));
        assert!(remarks.starts_with(&format!("warning: {file}:6:11: vip.service = \"web\": ")));
        assert_eq!(remarks.lines().count(), 1, "{remarks}");
    }

    #[test]
    fn every_problem_has_its_line() {
        let (file, summary, remarks) = judged("interfaces = []\nattach = \"fast\"\n");
        assert_eq!(summary, None);
        let lines: Vec<_> = remarks.lines().collect();
        assert_eq!(lines.len(), 2, "{remarks}");
        assert!(lines[0].starts_with(&format!("{file}:1:14: interfaces = []: empty; ")));
        assert!(lines[1].starts_with(&format!("{file}:2:10: attach = \"fast\": not known; ")));
    }

    #[test]
    fn a_file_that_is_not_there_is_one_line() {
        let (summary, remarks) = judge(Path::new("/nowhere/navigator.toml"));
        assert_eq!(summary, None);
        assert!(
            remarks.starts_with("/nowhere/navigator.toml: cannot be read ("),
            "{remarks}"
        );
        assert_eq!(remarks.lines().count(), 1);
    }
}
