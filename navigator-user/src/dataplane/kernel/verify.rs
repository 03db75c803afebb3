//! What the verifier says of every program in the object.

use super::{
    error::OpenError,
    load::{Globals, load_object, refused},
    sys, with_private_pins,
};
use crate::dataplane::store::Sizes;
use aya::{
    EbpfError,
    programs::{ProgramError, Xdp},
};
use navigator_common::hash::HashKey;

/// A program that this kernel accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Its name in the object.
    pub program: String,
    /// Instructions that the verifier visited; `None` on kernels before 5.16, which do not say.
    pub instructions: Option<u32>,
}

/// Loads every program, as it is shipped, with or without the lines that log drops, and takes
/// them out again: for tests.
///
/// # Errors
/// The kernel refuses one; the error names it and carries the end of the verifier's log.
pub fn verify_programs(log_drops: bool) -> Result<Vec<Verified>, OpenError> {
    sys::lift_memory_limit();
    // Values that rule nothing out: the verifier knows them, and prunes what they exclude.
    let globals = Globals {
        local_mac: [2, 0, 0, 0, 0, 1],
        local_egress: 1,
        hash_key: HashKey::from_words([1, 3, 5, 7, 9]),
        log_drops,
    };
    let mut ebpf = with_private_pins(|dir| load_object(dir, &Sizes::default(), Some(&globals)))?;
    let mut verified = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let instructions = <&mut Xdp>::try_from(program)
            .and_then(instructions)
            .map_err(|error| named(name, refused(EbpfError::ProgramError(error))))?;
        verified.push(Verified {
            program: name.to_owned(),
            instructions,
        });
    }
    verified.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(verified)
}

fn instructions(program: &mut Xdp) -> Result<Option<u32>, ProgramError> {
    program.load()?;
    Ok(program.info()?.verified_instruction_count())
}

fn named(program: &str, error: OpenError) -> OpenError {
    match error {
        OpenError::Load { why, .. } => OpenError::Load {
            what: format!("the program `{program}`"),
            why,
        },
        other => other,
    }
}
