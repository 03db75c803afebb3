//! What becomes of a slot: when its owner changes, when its window has been open for long
//! enough, when none of its flows is remembered any more.
//!
//! A slot at rest sends every flow to its owner and nothing remembers the
//! flows. When the owner changes while it can still serve its connections,
//! the slot is put *at risk*: new flows go to the new owner and are
//! remembered, and whatever is not remembered must be older than the change
//! and goes to the previous owner.

/// One slot, in terms of backends `B`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotState<B> {
    /// Where new flows go; `None` drops them.
    pub current: Option<B>,
    /// Where unremembered older flows go while the slot is at risk; else `None`.
    pub previous: Option<B>,
    /// The owner changed and connections of the previous one may live.
    pub at_risk: bool,
    /// Flows of this slot may be remembered: look there first.
    pub tracked: bool,
}

impl<B> Default for SlotState<B> {
    fn default() -> Self {
        Self {
            current: None,
            previous: None,
            at_risk: false,
            tracked: false,
        }
    }
}

/// What happens to a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<B> {
    /// A table gives it to this backend, or to nobody; also whenever a backend's state changed.
    Owner(Option<B>),
    /// Its window was open for long enough, or gives way to younger ones.
    WindowOver,
    /// Somebody looked through all remembered flows, after the window was closed and every packet
    /// that knew it as open had left: all that is remembered of it leads to its owner.
    NothingRemembered,
}

/// The slot after a change. `usable` tells whether a backend can still serve
/// the flows that it has.
///
/// * [`Change::Owner`]: see `retarget`.
/// * [`Change::WindowOver`]: flows that nobody remembers go to the owner from now on. Those
///   that are remembered stay where they are, so the slot stays tracked.
/// * [`Change::NothingRemembered`]: a slot without a window is at rest again. One with a window
///   stays as it is: its next packet may be remembered.
#[must_use]
pub fn change<B: Copy + Eq>(
    slot: SlotState<B>,
    change: Change<B>,
    usable: impl Fn(B) -> bool,
) -> SlotState<B> {
    match change {
        Change::Owner(new) => retarget(slot, new, usable),
        Change::WindowOver => SlotState {
            previous: None,
            at_risk: false,
            tracked: slot.tracked || slot.at_risk,
            ..slot
        },
        Change::NothingRemembered => SlotState {
            tracked: slot.at_risk,
            ..slot
        },
    }
}

/// The slot once the table says `new` for it.
///
/// In the order in which they are looked at:
///
/// 1. *The owner stays.* The slot stays as it is. A window that is open is
///    not begun anew: its flows have not changed.
/// 2. *The previous owner comes back.* Unremembered flows are its own, and it
///    is where the table leads: the window closes. What began in between is
///    remembered, so the slot stays tracked.
/// 3. *The slot is at risk already.* The previous owner is kept: the
///    unremembered flows are the oldest ones, and those of the owner in between
///    are remembered. Only the current owner moves.
/// 4. *The owner was at rest and can still serve.* It becomes the previous
///    one, and the window opens.
/// 5. *The owner was at rest and cannot serve any more*, or there was none:
///    nothing to preserve, no window. Flows that are remembered from before
///    are looked up as before.
///
/// A previous owner that cannot serve any more is forgotten before all this, and
/// the window with it: its flows would go nowhere. Where a window closes so
/// and the owner changes at the same time, the owner in between needs
/// no window: all its flows are remembered.
///
/// `tracked` is never cleared here: only somebody who has looked through the
/// remembered flows can tell that none is left.
fn retarget<B: Copy + Eq>(
    slot: SlotState<B>,
    new: Option<B>,
    usable: impl Fn(B) -> bool,
) -> SlotState<B> {
    let was_at_risk = slot.at_risk && slot.previous.is_some();
    let previous = slot.previous.filter(|&b| was_at_risk && usable(b));
    let window = |previous: Option<B>| SlotState {
        current: new,
        previous,
        at_risk: previous.is_some(),
        tracked: slot.tracked || slot.at_risk || previous.is_some(),
    };
    if new == slot.current {
        window(previous)
    } else if was_at_risk {
        window(previous.filter(|&b| Some(b) != new))
    } else {
        window(slot.current.filter(|&b| usable(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Slot = SlotState<u8>;

    fn steady(current: u8) -> Slot {
        SlotState {
            current: Some(current),
            ..Slot::default()
        }
    }

    fn tracked(current: u8) -> Slot {
        SlotState {
            tracked: true,
            ..steady(current)
        }
    }

    fn at_risk(current: u8, previous: u8) -> Slot {
        SlotState {
            previous: Some(previous),
            at_risk: true,
            ..tracked(current)
        }
    }

    fn nobody(slot: Slot) -> Slot {
        SlotState {
            current: None,
            ..slot
        }
    }

    #[test]
    fn every_rule_has_its_row() {
        let all: &[u8] = &[1, 2, 3, 4];
        for (slot, new, usable, expected, rule) in [
            (steady(1), Some(1), all, steady(1), "the owner stays"),
            (
                tracked(1),
                Some(1),
                all,
                tracked(1),
                "the owner stays, tracked",
            ),
            (
                at_risk(2, 1),
                Some(2),
                all,
                at_risk(2, 1),
                "the owner stays, at risk",
            ),
            (
                at_risk(2, 1),
                Some(2),
                &[2],
                tracked(2),
                "the previous one is lost",
            ),
            (steady(1), Some(2), all, at_risk(2, 1), "a window opens"),
            (
                tracked(1),
                Some(2),
                all,
                at_risk(2, 1),
                "a window opens again",
            ),
            (steady(1), Some(2), &[2], steady(2), "nothing to preserve"),
            (
                tracked(1),
                Some(2),
                &[2],
                tracked(2),
                "nothing to preserve, tracked",
            ),
            (Slot::default(), Some(1), all, steady(1), "the first owner"),
            (
                steady(1),
                None,
                all,
                nobody(at_risk(0, 1)),
                "the last owner drains",
            ),
            (steady(1), None, &[], Slot::default(), "the last owner dies"),
            (
                nobody(at_risk(0, 1)),
                Some(2),
                all,
                at_risk(2, 1),
                "a new owner after a gap",
            ),
            (
                at_risk(2, 1),
                Some(3),
                all,
                at_risk(3, 1),
                "a second change",
            ),
            (
                at_risk(2, 1),
                Some(3),
                &[2, 3],
                tracked(3),
                "a second change, the first owner lost",
            ),
            (
                at_risk(2, 1),
                Some(1),
                all,
                tracked(1),
                "the previous one comes back",
            ),
            (
                at_risk(2, 1),
                None,
                all,
                nobody(at_risk(0, 1)),
                "nobody takes new flows",
            ),
        ] {
            let after = change(slot, Change::Owner(new), |b| usable.contains(&b));
            assert_eq!(after, expected, "{rule}");
        }
    }

    /// Owners after each other, and who can still serve at each step.
    fn history() -> impl Strategy<Value = Vec<(Option<u8>, u8)>> {
        proptest::collection::vec(
            (proptest::option::weighted(0.9, 0u8..5), any::<u8>()),
            0..20,
        )
    }

    proptest! {
        #[test]
        fn no_history_breaks_the_rules(history in history()) {
            let mut slot = Slot::default();
            for (new, serving) in history {
                let usable = |b: u8| serving >> b & 1 == 1;
                let after = change(slot, Change::Owner(new), usable);
                prop_assert_eq!(after.current, new);
                prop_assert_eq!(after.at_risk, after.previous.is_some());
                prop_assert!(!after.at_risk || after.tracked);
                prop_assert!(after.tracked || !slot.tracked);
                prop_assert!(after.previous.is_none_or(|b| usable(b) && Some(b) != new));
                if let Some(previous) = slot.previous.filter(|&b| usable(b)) {
                    prop_assert!(after.previous == Some(previous) || after.current == Some(previous));
                }
                if let Some(old) = slot.current.filter(|&b| !slot.at_risk && usable(b)) {
                    prop_assert!(after.previous == Some(old) || after.current == Some(old));
                }
                prop_assert_eq!(change(after, Change::Owner(new), usable), after);
                slot = after;
            }
        }
    }
}
