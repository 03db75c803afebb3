//! Packets as a pcapng file, which Wireshark, tshark and tcpdump open; what
//! became of each stands beside it as its comment.

use crate::trace::packet::{Packet, unhex};
use navigator_common::trace::CAPTURE;
use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Time stamps are nanoseconds: 10 to the minus ninth seconds.
const NANOSECONDS: u8 = 9;
/// Directions, as the flags of a packet have them.
const CAME: u32 = 1;
const LEFT: u32 = 2;

/// A file in the making. Every packet is written at once, and whole.
pub(super) struct Capture<W: Write> {
    out: W,
    blocks: PcapNgWriter<Vec<u8>>,
    interfaces: Vec<String>,
}

impl<W: Write> Capture<W> {
    pub(super) fn begin(out: W) -> io::Result<Self> {
        let software = format!("navigator {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(software.into())],
            ..SectionHeaderBlock::default()
        };
        let blocks = PcapNgWriter::with_section_header(Vec::new(), section).map_err(to_io)?;
        let mut capture = Self {
            out,
            blocks,
            interfaces: Vec::new(),
        };
        capture.flush()?;
        Ok(capture)
    }

    /// The packet as it came.
    pub(super) fn came(&mut self, packet: &Packet) -> io::Result<()> {
        self.write(packet, packet.packet.as_deref(), packet.length, CAME)
    }

    /// The packet as it left, if it did.
    pub(super) fn left(&mut self, packet: &Packet) -> io::Result<()> {
        if packet.sent_length == 0 {
            return Ok(());
        }
        self.write(packet, packet.sent.as_deref(), packet.sent_length, LEFT)
    }

    fn write(
        &mut self,
        packet: &Packet,
        bytes: Option<&str>,
        length: u32,
        direction: u32,
    ) -> io::Result<()> {
        let data = bytes.and_then(unhex);
        let data =
            data.ok_or_else(|| io::Error::other("the daemon sent a packet without its bytes"))?;
        let interface_id = self.interface(&packet.interface)?;
        self.push(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.unix_nanoseconds),
            original_len: length,
            data: data.into(),
            options: vec![
                EnhancedPacketOption::Comment(packet.explain().into()),
                EnhancedPacketOption::Flags(direction),
            ],
        })?;
        self.flush()
    }

    /// The number of an interface, which is described when it is met first.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|known| known == name);
        if let Some(known) = known {
            return Ok(known as u32);
        }
        self.push(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: CAPTURE as u32,
            options: vec![
                InterfaceDescriptionOption::IfName(name.to_owned().into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }

    fn push<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        self.blocks
            .write_pcapng_block(block)
            .map(drop)
            .map_err(to_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        let blocks = self.blocks.get_mut();
        self.out.write_all(blocks)?;
        blocks.clear();
        self.out.flush()
    }
}

fn to_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::trace::text::tests::packet;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn packets_are_read_back_with_their_comments() -> anyhow::Result<()> {
        let mut file = Vec::new();
        let mut capture = Capture::begin(&mut file)?;
        let other = Packet {
            interface: "eth1".to_owned(),
            ..packet()
        };
        capture.came(&packet())?;
        capture.left(&packet())?;
        capture.came(&other)?;
        let mut reader = PcapNgReader::new(&file[..])?;
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(block) = block? {
                assert_eq!(block.timestamp.as_nanos(), 1_795_813_445_123_456_789);
                assert_eq!((block.data.len(), block.original_len), (15, 74));
                let comment = block.options.iter().any(|option| {
                    matches!(option, EnhancedPacketOption::Comment(text) if *text == packet().explain())
                });
                assert!(comment, "{:?}", block.options);
                seen.push((block.interface_id, block.data[5]));
            }
        }
        assert_eq!(seen, [(0, 1), (0, 2), (1, 1)]);
        let names: Vec<_> = reader
            .interfaces()
            .iter()
            .map(|interface| interface.snaplen)
            .collect();
        assert_eq!(names, [CAPTURE as u32; 2]);
        Ok(())
    }

    #[test]
    fn a_packet_without_bytes_is_an_error() -> io::Result<()> {
        let mut capture = Capture::begin(Vec::new())?;
        let without = Packet {
            packet: None,
            ..packet()
        };
        assert!(capture.came(&without).is_err());
        let broken = Packet {
            packet: Some("0g".to_owned()),
            ..packet()
        };
        assert!(capture.came(&broken).is_err());
        Ok(())
    }
}
