//! Fuzzing of the packet path: any number of packets through the real programs
//! by BPF_PROG_TEST_RUN, and a judge of what became of each.
//!
//! | file | what it is |
//! |---|---|
//! | `seeds`, `mutate`, `fields`, `shapes`, `dice` | where packets come from: sound ones, changed at random by a seed that makes them again |
//! | `world` | the VIPs that they meet |
//! | `kernel` | one frame through one program |
//! | `judge`, `layout` | what may become of it, by code of this crate's own |
//! | `books` | every packet counted exactly once, under its verdict |
//! | `tally`, `save` | what was seen; a frame that went wrong |

mod books;
mod decap;
pub mod dice;
mod fields;
pub mod judge;
pub mod kernel;
pub mod layout;
pub mod mutate;
pub mod save;
pub mod seeds;
mod shapes;
pub mod tally;
pub mod world;

use crate::packet::expect::Action;
use anyhow::{Context as _, Result, bail};
use books::Books;
use decap::Decap;
use dice::Dice;
use judge::Fate;
use kernel::Runner;
use mutate::Mutator;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use tally::Tally;
use world::World;

/// Name of the load balancer in tables.
const BALANCER: &str = "navigator";
/// Name of the tunnel end.
const UNWRAPPER: &str = "navigator_decap";

/// Packets between two looks at all counters.
const BATCH: u64 = 2048;
/// Every so many packets the counters are read before and after one.
const SAMPLE: usize = 4096;
/// Batches between two changes of the tables.
const CHANGE: u64 = 8;
/// One in so many batches is traced.
const TRACED: usize = 8;
/// One in so many frames goes through the tunnel end as well.
const UNWRAP: usize = 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs of a program, at least.
    pub count: u64,
    /// The packets: the same number gives the same ones.
    pub seed: u64,
    /// Where a frame that goes wrong is kept.
    pub keep: PathBuf,
}

/// Runs packets until there were enough or one goes wrong; `progress` hears of the figures now
/// and then.
///
/// # Errors
/// Says what went wrong, with the seed, the packet and where it is kept.
pub fn packets(options: &Options, mut progress: impl FnMut(&Tally)) -> Result<Tally> {
    let mut run = Run::new(options)?;
    let mut batches = 0;
    while run.tally.runs < options.count {
        run.batch()?;
        batches += 1;
        if batches % CHANGE == 0 {
            let mut dice = Dice::new(run.mutator.dice().word());
            run.world.change(&mut dice)?;
            run.tally.time = run.started.elapsed();
            progress(&run.tally);
        }
    }
    run.tally.time = run.started.elapsed();
    run.tally.counted = run.all_counted()?;
    Ok(run.tally)
}

/// A run under way.
struct Run {
    world: World,
    decap: Decap,
    runner: Runner,
    mutator: Mutator,
    books: Books,
    tally: Tally,
    seed: u64,
    keep: PathBuf,
    /// The kernel can put a part of a frame only into the first buffer.
    splits: bool,
    started: Instant,
    frame: Vec<u8>,
}

impl Run {
    fn new(options: &Options) -> Result<Self> {
        let world = World::new()?;
        let mut run = Self {
            books: Books::open(world.bed.store()),
            decap: Decap::load()?,
            runner: Runner::default(),
            mutator: Mutator::new(Dice::new(options.seed)),
            tally: Tally::default(),
            seed: options.seed,
            keep: options.keep.clone(),
            splits: false,
            started: Instant::now(),
            frame: Vec::new(),
            world,
        };
        let probe = [0xff; 200];
        run.splits = run.runner.run(run.decap.fd()?, &probe, Some(64)).is_ok();
        run.decap.close_books()?;
        Ok(run)
    }

    /// Some packets, after which every counter adds up.
    fn batch(&mut self) -> Result<()> {
        // The program that traces packets is to do the same with them.
        let looking = self.mutator.dice().once_in(TRACED);
        self.world.bed.look(looking)?;
        if looking {
            self.tally.traced += BATCH;
        }
        for _ in 0..BATCH {
            self.mutator.next(&mut self.frame);
            let dice = self.mutator.dice();
            let (sampled, unwrapped) = (dice.once_in(SAMPLE), dice.once_in(UNWRAP));
            let length = self.frame.len();
            // Headers in the first buffer or not, and everything in between.
            let splits = self.splits && length > 60 && dice.once_in(16);
            let linear = splits.then(|| ETHERNET + dice.below((length - ETHERNET).min(200)));
            self.tally.split += u64::from(splits);
            if sampled {
                self.close_books("since the last look at the counters")?;
            }
            self.balance(linear)?;
            if sampled {
                self.close_books("of one packet")?;
            }
            if unwrapped {
                self.unwrap(linear)?;
            }
        }
        self.close_books("of a batch of packets")
    }

    /// The frame through the load balancer.
    fn balance(&mut self, linear: Option<usize>) -> Result<()> {
        let program = self.world.bed.program_fd()?;
        let (verdict, left) = self
            .runner
            .run(program, &self.frame, linear)
            .with_context(|| format!("the kernel does not run {} bytes", self.frame.len()))?;
        let judged = Action::new(verdict)
            .map_err(|error| error.to_string())
            .and_then(|action| judge::balancer(&self.frame, action, left));
        let fate = match judged {
            Ok(fate) => fate,
            Err(why) => {
                let left = left.to_vec();
                return self.wrong(BALANCER, &why, &left);
            }
        };
        let length = layout::Packet::of(&self.frame).map_or(0, |packet| packet.end - packet.ip);
        self.books.enter(fate, length as u64);
        match fate {
            // There are enough of those.
            Fate::Passed | Fate::Unwrapped => {}
            Fate::Forwarded if self.mutator.dice().once_in(4) => self.mutator.remember_sent(left),
            Fate::Dropped | Fate::Replied | Fate::Forwarded | Fate::Returned => {
                self.mutator.remember(&self.frame);
            }
        }
        self.enter(BALANCER, fate);
        Ok(())
    }

    /// The frame through the tunnel end.
    fn unwrap(&mut self, linear: Option<usize>) -> Result<()> {
        let (verdict, left) = self.runner.run(self.decap.fd()?, &self.frame, linear)?;
        let judged = Action::new(verdict)
            .map_err(|error| error.to_string())
            .and_then(|action| judge::unwrapper(&self.frame, action, left));
        match judged {
            Ok(fate) => {
                self.decap.enter(fate);
                self.enter(UNWRAPPER, fate);
                Ok(())
            }
            Err(why) => {
                let left = left.to_vec();
                self.wrong(UNWRAPPER, &why, &left)
            }
        }
    }

    fn enter(&mut self, program: &'static str, fate: Fate) {
        *self.tally.fates.entry((program, fate)).or_default() += 1;
        self.tally.runs += 1;
    }

    /// Every packet since the last time was counted once, under its verdict.
    fn close_books(&mut self, of: &str) -> Result<()> {
        if let Err(why) = self.books.close(self.world.bed.store()) {
            return self.wrong(
                BALANCER,
                &format!("{why} ({of}; the last one follows)"),
                &[],
            );
        }
        self.decap.close_books()
    }

    fn all_counted(&self) -> Result<std::collections::BTreeMap<String, u64>> {
        let mut counted = self.books.counted();
        counted.extend(self.decap.counted()?);
        Ok(counted)
    }

    /// Keeps the frame that went wrong, and says so.
    fn wrong(&mut self, program: &str, why: &str, left: &[u8]) -> Result<()> {
        let name = format!("{program}-seed-{}-run-{}.pcap", self.seed, self.tally.runs);
        let small = self.smaller(program);
        let small = small.as_deref().unwrap_or(&self.frame);
        let kept = save::pcap(&self.keep, &name, &[&self.frame, left, small])
            .map_or_else(|error| format!("not kept: {error}"), |path| shown(&path));
        bail!(
            "{program}: {why}\nseed {}, after {} runs; kept in {kept}\nthe frame that came:\n{}and \
             that left:\n{}the smallest frame that goes wrong:\n{}",
            self.seed,
            self.tally.runs,
            save::hex(&self.frame),
            save::hex(left),
            save::hex(small),
        )
    }

    /// The smallest frame that the load balancer still does something wrong with, if the frame
    /// goes wrong by itself.
    fn smaller(&mut self, program: &str) -> Option<Vec<u8>> {
        if program != BALANCER {
            return None;
        }
        let program = self.world.bed.program_fd().ok()?;
        let runner = std::cell::RefCell::new(&mut self.runner);
        let goes_wrong = |frame: &[u8]| {
            let mut runner = runner.borrow_mut();
            let Ok((verdict, left)) = runner.run(program, frame, None) else {
                return false;
            };
            Action::new(verdict)
                .map_or(true, |action| judge::balancer(frame, action, left).is_err())
        };
        goes_wrong(&self.frame).then(|| save::minimised(&self.frame, goes_wrong))
    }
}

/// Length of an Ethernet header: the least that a first buffer holds.
const ETHERNET: usize = crate::packet::frame::ETH;

fn shown(path: &Path) -> String {
    path.display().to_string()
}
