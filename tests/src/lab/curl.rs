//! curl: long downloads.

use super::{host::Host, process::Process, tool, wait};
use anyhow::{Context, Result, ensure};
use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

/// A download of a part of `/big` at a fixed rate.
#[derive(Debug)]
pub struct Download {
    process: Process,
    headers: PathBuf,
    bytes: u64,
    seconds: u64,
}

/// Bytes per second of a download.
const RATE: u64 = 64 << 10;

impl Download {
    /// Starts one that takes `seconds`. `name` is unique in the lab.
    ///
    /// # Errors
    /// curl is not installed or cannot be started.
    pub fn start(
        lab: &super::Lab,
        host: &Host,
        name: &str,
        target: SocketAddr,
        seconds: u64,
    ) -> Result<Self> {
        let headers = lab.file(&format!("{name}.headers"));
        let bytes = RATE * seconds;
        let mut command = host.command(tool("curl")?);
        command
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--globoff",
                "--output",
            ])
            .args(["/dev/null", "--write-out", "%{size_download}"])
            .args(["--range", &format!("0-{}", bytes - 1), "--dump-header"])
            .arg(&headers)
            .arg(format!("http://{target}/big?rate={RATE}"));
        Ok(Self {
            process: host.start(&format!("curl-{name}"), command)?,
            headers,
            bytes,
            seconds,
        })
    }

    /// Waits for the headers and returns the name of the backend that sends it.
    ///
    /// # Errors
    /// There is no answer.
    pub fn backend(&mut self) -> Result<String> {
        let process = &mut self.process;
        let (name, _) = wait::until("download starts", Duration::from_secs(10), || {
            let text = fs::read_to_string(&self.headers).unwrap_or_default();
            let name = text
                .lines()
                .find_map(|line| line.strip_prefix("X-Backend: "));
            ensure!(
                name.is_some() || process.is_running(),
                "curl ended: {}",
                process.stderr().trim()
            );
            name.map(str::to_owned).context("no headers yet")
        })?;
        Ok(name)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It failed or is not whole.
    pub fn finish(mut self) -> Result<()> {
        let status = self
            .process
            .wait(Duration::from_secs(self.seconds * 2 + 10))?;
        ensure!(
            status.success(),
            "download broke: {}",
            self.process.stderr().trim()
        );
        let got = self.process.stdout();
        ensure!(
            got == self.bytes.to_string(),
            "download of {} bytes ended after {got}",
            self.bytes
        );
        Ok(())
    }
}

/// Sends `bytes` bytes to `/`; the connection is a new one.
///
/// # Errors
/// curl fails, or the answer is an error.
pub fn upload(lab: &super::Lab, host: &Host, target: SocketAddr, bytes: u64) -> Result<()> {
    let file = lab.file("upload");
    fs::File::create(&file)?.set_len(bytes)?;
    let mut body = std::ffi::OsString::from("@");
    body.push(&file);
    let mut command = host.command(tool("curl")?);
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--globoff",
            "--max-time",
            "15",
        ])
        .args([
            "--write-out",
            "%{size_upload}",
            "--output",
            "/dev/null",
            "--data-binary",
        ])
        .arg(body)
        .arg(format!("http://{target}/"));
    let sent = host.run(command)?;
    ensure!(
        sent == bytes.to_string(),
        "{sent} of {bytes} bytes were sent"
    );
    Ok(())
}
