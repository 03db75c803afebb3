//! A line for each packet, in columns that widen when they must.

use crate::{
    cli::render::{Look, clean},
    trace::packet::{Packet, SlotSeen},
};

const TITLES: [&str; 9] = [
    "TIME (UTC)",
    "IF",
    "SOURCE",
    "DESTINATION",
    "PACKET",
    "BYTES",
    "VIP",
    "SLOT",
    "OUTCOME",
];
/// What most lines need, so that the columns seldom move.
const WIDTHS: [usize; 9] = [15, 4, 18, 14, 6, 5, 4, 5, 0];
/// The column of bytes: numbers stand to the right.
const BYTES: usize = 5;

/// The columns, as wide as what was printed in them.
pub(super) struct Columns([usize; 9]);

impl Default for Columns {
    fn default() -> Self {
        Self(WIDTHS)
    }
}

impl Columns {
    pub(super) fn title(&mut self) -> String {
        self.join(&TITLES.map(str::to_owned))
    }

    pub(super) fn line(&mut self, look: Look, packet: &Packet) -> String {
        let mut line = self.join(&cells(packet));
        let code = match packet.verdict.as_str() {
            "dropped" => "31",
            "passed" => "2",
            "replied" => "36",
            _ if packet
                .slot
                .as_ref()
                .is_some_and(|slot| slot.state == "at_risk") =>
            {
                "33"
            }
            _ => return line,
        };
        if look.colour {
            line.pop();
            line = format!("\x1b[{code}m{line}\x1b[0m\n");
        }
        line
    }

    fn join(&mut self, cells: &[String; 9]) -> String {
        let mut line = String::new();
        for (number, (cell, width)) in cells.iter().zip(&mut self.0).enumerate() {
            *width = (*width).max(cell.chars().count());
            let width = *width;
            let gap = if number + 1 < cells.len() { "  " } else { "" };
            line += &match number {
                BYTES => format!("{cell:>width$}{gap}"),
                _ if gap.is_empty() => cell.clone(),
                _ => format!("{cell:<width$}{gap}"),
            };
        }
        line + "\n"
    }
}

fn cells(packet: &Packet) -> [String; 9] {
    let or_dash = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| clean(text));
    [
        time_of_day(&packet.time),
        clean(&packet.interface),
        or_dash(packet.source.as_ref()),
        or_dash(packet.destination.as_ref()),
        kind(packet),
        packet.length.to_string(),
        or_dash(packet.vip.as_ref()),
        packet.slot.as_ref().map_or_else(|| "-".to_owned(), slot),
        outcome(packet),
    ]
}

/// `12:34:56.123456` of `2026-11-27T12:34:56.123456789Z`.
fn time_of_day(time: &str) -> String {
    time.get(11..26).unwrap_or(time).to_owned()
}

fn kind(packet: &Packet) -> String {
    let tags = packet.vlans.iter().map(|vlan| format!(" vlan {vlan}"));
    let flags = match packet.flags.as_str() {
        "" => String::new(),
        flags => format!(" {flags}"),
    };
    format!("{}{flags}{}", packet.protocol, tags.collect::<String>())
}

fn slot(slot: &SlotSeen) -> String {
    match slot.state.as_str() {
        "at_rest" => slot.index.to_string(),
        state => format!("{} {}", slot.index, state.replace('_', " ")),
    }
}

fn outcome(packet: &Packet) -> String {
    let mut text = match (&packet.reason, &packet.backend) {
        (Some(reason), _) => reason.clone(),
        (None, Some(backend)) if packet.reply => {
            format!("to {} from {}", packet.client_name(), backend.address)
        }
        (None, Some(backend)) => format!("to {} by {}", backend.address, backend.mode),
        (None, None) => packet.verdict.clone(),
    };
    if let Some(slot) = &packet.slot
        && slot.state != "at_rest"
        && !slot.owner.is_empty()
    {
        text += &format!(" ({})", slot.owner);
    }
    for event in &packet.events {
        text += &format!(" {event}");
    }
    clean(&text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::trace::packet::BackendSeen;

    pub(in crate::cli::trace) fn packet() -> Packet {
        Packet {
            time: "2026-11-27T21:04:05.123456789Z".to_owned(),
            unix_nanoseconds: 1_795_813_445_123_456_789,
            interface: "eth0".to_owned(),
            vlans: Vec::new(),
            client: Some([10, 77, 0, 11].into()),
            source: Some("10.77.0.11:40012".to_owned()),
            destination: Some("10.77.1.1:80".to_owned()),
            protocol: "TCP".to_owned(),
            flags: "S".to_owned(),
            length: 74,
            verdict: "forwarded".to_owned(),
            reason: None,
            vip: Some("web4".to_owned()),
            slot: Some(SlotSeen {
                index: 1203,
                state: "at_rest".to_owned(),
                owner: "current".to_owned(),
            }),
            events: Vec::new(),
            backend: Some(BackendSeen {
                address: "10.77.0.21:80".to_owned(),
                mode: "l2".to_owned(),
                next_hop: "02:00:00:00:00:01".to_owned(),
            }),
            reply: false,
            sent_length: 74,
            packet: Some("020000000001020000000009080045".to_owned()),
            sent: Some("020000000002020000000001080045".to_owned()),
        }
    }

    fn dropped() -> Packet {
        Packet {
            vip: None,
            slot: None,
            backend: None,
            verdict: "dropped".to_owned(),
            reason: Some("drop_unserved".to_owned()),
            ..packet()
        }
    }

    #[test]
    fn packets_stand_in_columns() {
        let plain = Look {
            colour: false,
            width: None,
        };
        let mut columns = Columns::default();
        let mut at_risk = packet();
        at_risk.events.push("flow_hit".to_owned());
        if let Some(slot) = &mut at_risk.slot {
            (slot.state, slot.owner) = ("at_risk".to_owned(), "previous".to_owned());
        }
        let lines = [
            columns.title(),
            columns.line(plain, &packet()),
            columns.line(plain, &dropped()),
            columns.line(plain, &at_risk),
        ];
        assert_eq!(
            lines.concat(),
            "\
TIME (UTC)       IF    SOURCE              DESTINATION     PACKET  BYTES  VIP   SLOT   OUTCOME
21:04:05.123456  eth0  10.77.0.11:40012    10.77.1.1:80    TCP S      74  web4  1203   to 10.77.0.21:80 by l2
21:04:05.123456  eth0  10.77.0.11:40012    10.77.1.1:80    TCP S      74  -     -      drop_unserved
21:04:05.123456  eth0  10.77.0.11:40012    10.77.1.1:80    TCP S      74  web4  1203 at risk  to 10.77.0.21:80 by l2 (previous) flow_hit
"
        );
        // The column stays as wide as it had to be.
        assert!(
            columns
                .line(plain, &packet())
                .contains("  1203          to ")
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let look = Look {
            colour: true,
            width: None,
        };
        let line = Columns::default().line(look, &dropped());
        assert!(
            line.starts_with("\x1b[31m") && line.ends_with("\x1b[0m\n"),
            "{line:?}"
        );
        assert!(!Columns::default().line(look, &packet()).contains('\x1b'));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut evil = packet();
        evil.vip = Some("\x1b[2J".to_owned());
        let plain = Look {
            colour: false,
            width: None,
        };
        assert!(!Columns::default().line(plain, &evil).contains('\x1b'));
    }
}
