//! Packets that nobody would think of: changes that know what a header is, and
//! changes that know nothing.

use super::{dice::Dice, fields, kernel::LONGEST, layout, seeds::Corpus, shapes};
use crate::packet::frame::ETH;

/// Frames that came by lately and are changed again: so fragments follow a first one, and flows
/// go on.
const RECENT: usize = 16;
/// Most changes of one frame.
const CHANGES: usize = 6;

/// A change of a frame.
enum Change {
    /// Of what stands in it.
    Field(fn(&mut [u8], &mut Dice)),
    /// Of its length.
    Shape(fn(&mut Vec<u8>, &mut Dice)),
}
use Change::{Field, Shape};

/// Those that are tried, each as often as it is listed.
const ALL: &[Change] = &[
    Field(fields::flip_a_bit),
    Field(fields::flip_a_bit),
    Field(fields::set_a_header_byte),
    Field(fields::set_a_header_byte),
    Field(fields::set_a_header_word),
    Field(fields::set_a_header_word),
    Shape(shapes::cut),
    Shape(shapes::pad),
    Field(fields::claim_another_ip_length),
    Field(fields::claim_another_transport_length),
    Field(fields::change_the_source),
    Field(fields::change_the_source),
    Field(fields::change_the_destination),
    Field(fields::change_the_ports),
    Field(fields::change_the_ports),
    Field(fields::change_a_mac),
    Field(fields::change_the_tcp_flags),
    Field(fields::change_the_life),
    Field(fields::change_the_protocol),
    Shape(shapes::insert_ipv4_options),
    Shape(shapes::insert_extension_headers),
    Shape(shapes::make_a_fragment),
    Shape(shapes::make_a_fragment),
    Shape(shapes::add_a_tag),
    Shape(shapes::take_a_tag),
    Shape(shapes::quote_it),
    Shape(shapes::quote_it),
    Field(fields::turn_it_around),
    Shape(shapes::wrap_it),
    Shape(shapes::lengthen),
    Shape(shapes::remove_some_bytes),
    Shape(shapes::repeat_some_bytes),
];

/// Makes frames.
pub struct Mutator {
    dice: Dice,
    corpus: Corpus,
    recent: Vec<Vec<u8>>,
}

impl Mutator {
    /// Starts from the corpus.
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            corpus: Corpus::new(),
            recent: Vec::new(),
        }
    }

    /// Puts the next frame into `frame`.
    pub fn next(&mut self, frame: &mut Vec<u8>) {
        frame.clear();
        let from = match self.dice.below(8) {
            0 | 1 if !self.recent.is_empty() => &self.recent,
            2 => &self.corpus.others,
            _ => &self.corpus.ours,
        };
        let base: &Vec<u8> = self.dice.pick(from);
        frame.extend_from_slice(base);
        // Mostly a few: the more there are, the sooner it is no packet at all.
        let changes = self.dice.below(CHANGES).min(self.dice.below(CHANGES));
        for _ in 0..changes {
            match self.dice.pick(ALL) {
                Field(change) => change(frame, &mut self.dice),
                Shape(change) => change(frame, &mut self.dice),
            }
        }
        // A packet with a wrong length or checksum does not get far.
        if self.dice.below(3) > 0 {
            layout::mend(frame);
        }
        frame.truncate(LONGEST);
        if frame.len() < ETH {
            frame.resize(ETH, 0);
        }
    }

    /// Remembers a frame: one that came in, or one that a program made.
    pub fn remember(&mut self, frame: &[u8]) {
        // Neither the longest nor all: else each would be a child of the few that went before.
        if frame.len() > 2000 || !self.dice.once_in(8) {
            return;
        }
        if self.recent.len() < RECENT {
            self.recent.push(frame.to_vec());
        } else {
            let place = self.dice.below(RECENT);
            self.recent[place].clear();
            self.recent[place].extend_from_slice(frame);
        }
    }

    /// Remembers a frame that was sent to a backend, now and then as the backend would answer it.
    pub fn remember_sent(&mut self, frame: &[u8]) {
        let mut answer = frame.to_vec();
        if self.dice.once_in(2) {
            fields::turn_it_around(&mut answer, &mut self.dice);
        }
        self.remember(&answer);
    }

    /// Its numbers, for decisions beside the frames.
    pub const fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }
}
