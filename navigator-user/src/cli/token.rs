//! `token new`: tokens for callers of the TLS listeners.

use super::{failure::Outcome, output};
use crate::api::access::Token;

/// Makes a token and prints it, this once, with what the configuration is to know of it.
pub(super) fn new() -> Outcome {
    let token = Token::random();
    let (secret, hash) = (token.reveal(), token.hash());
    eprintln!("the token is for its user alone, the hash for an [[api.access]] block");
    output::print(&format!("token         {secret}\ntoken_sha256  {hash}\n")).map(drop)
}
