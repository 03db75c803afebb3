//! The `navigator` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    navigator_user::cli::main()
}
