//! A frame that went wrong: made as small as can be, and kept.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Makes a frame smaller and plainer for as long as it still goes wrong.
pub fn minimised(frame: &[u8], goes_wrong: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = frame.to_vec();
    // First what stands at the end, in halves, then each byte on its own.
    let mut step = best.len() / 2;
    while step > 0 {
        let shorter = &best[..best.len() - step.min(best.len() - 14)];
        if shorter.len() < best.len() && goes_wrong(shorter) {
            best = shorter.to_vec();
        } else {
            step /= 2;
        }
    }
    for at in 0..best.len().min(200) {
        let plain = std::mem::replace(&mut best[at], 0);
        if plain != 0 && !goes_wrong(&best) {
            best[at] = plain;
        }
    }
    best
}

/// Bytes in lines of sixteen.
pub fn hex(frame: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in frame.chunks(16).enumerate() {
        let _ = write!(text, "{:04x}:", line * 16);
        for byte in bytes {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// Writes frames to a file that Wireshark opens, in `directory`.
///
/// # Errors
/// It cannot be written.
pub fn pcap(directory: &Path, name: &str, frames: &[&[u8]]) -> io::Result<PathBuf> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const ETHERNET: u32 = 1;
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    let mut file = Vec::new();
    let version = 2 | 4 << 16;
    for word in [MAGIC, version, 0, 0, 1 << 18, ETHERNET] {
        file.extend(u32::to_ne_bytes(word));
    }
    for frame in frames {
        let length = frame.len() as u32;
        for word in [0, 0, length, length] {
            file.extend(u32::to_ne_bytes(word));
        }
        file.extend_from_slice(frame);
    }
    fs::write(&path, file)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference_goes_away() {
        let mut frame: Vec<u8> = (1..=200).collect();
        frame[30] = 0xee;
        let small = minimised(&frame, |frame| frame.len() > 40 && frame[30] == 0xee);
        assert_eq!(small.len(), 41);
        assert!(
            small
                .iter()
                .enumerate()
                .all(|(at, byte)| (at == 30) == (*byte != 0))
        );
    }

    #[test]
    fn a_frame_without_its_end_is_kept_whole() {
        let frame = [7; 64];
        assert_eq!(minimised(&frame, |frame| frame == [7; 64]), frame);
    }
}
