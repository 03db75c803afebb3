//! What the program logs: a line for each packet that it drops, for a short
//! look at one host. The lines are in every program; unless somebody asks for
//! them, the loader sets the level that lets the verifier take them out.

use aya::Ebpf;
use aya_log::EbpfLogger;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the ring is emptied. What does not fit it meanwhile is lost, as is usual for a log.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a program's log for as long as this lives.
pub(super) struct DropLog(JoinHandle<()>);

impl DropLog {
    /// Starts to read; without it the program drops as silently as ever, so a failure is a
    /// warning. Must be called inside a tokio runtime.
    pub(super) fn read(program: &mut Ebpf) -> Option<Self> {
        match EbpfLogger::init(program) {
            Ok(logger) => Some(Self(tokio::spawn(read(logger)))),
            Err(error) => {
                tracing::warn!("drops are not logged: {error}");
                None
            }
        }
    }
}

impl Drop for DropLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(mut logger: EbpfLogger<&'static dyn log::Log>) {
    loop {
        logger.flush();
        tokio::time::sleep(PAUSE).await;
    }
}
