//! Membership in the control part: what it says goes to the network, what it finds out to the others.

use crate::control::Control;
use crate::io::{Effect, Note, Now, TimerId};
use crate::membership::{MembershipEvent, MembershipOutput};

impl Control {
    pub(crate) fn wake_membership(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut out = MembershipOutput::default();
        self.membership.wake(now.time, &mut out);
        self.carry_out_membership(out, now, effects);
    }

    pub(crate) fn take_datagram(&mut self, bytes: &[u8], now: Now, effects: &mut Vec<Effect>) {
        let mut out = MembershipOutput::default();
        self.membership.received(bytes, now.time, &mut out);
        self.carry_out_membership(out, now, effects);
    }

    /// The node stops in order: the others need not find out by its silence.
    pub(crate) fn leave_membership(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut out = MembershipOutput::default();
        self.membership.leave(now.time, &mut out);
        self.carry_out_membership(out, now, effects);
    }

    fn carry_out_membership(&mut self, out: MembershipOutput, now: Now, effects: &mut Vec<Effect>) {
        let datagrams = out.datagrams.into_iter();
        effects.extend(datagrams.map(|(to, bytes)| Effect::Datagram { to, bytes }));
        // Every timer fires, and a wake that comes too early asks for the next: were one set each time,
        // every datagram would leave one more that never ends.
        let pending = self.membership_wakes_at.filter(|at| *at > now.time);
        if let Some(at) = out.wake_at
            && pending.is_none_or(|pending| at < pending)
        {
            self.membership_wakes_at = Some(at);
            let id = TimerId::Membership;
            effects.push(Effect::SetTimer { id, at });
        }
        let mut changed = false;
        for event in out.events {
            match event {
                MembershipEvent::Up(_) | MembershipEvent::Down(_) => changed = true,
                MembershipEvent::Restarted(_) | MembershipEvent::Rejoined => {}
                MembershipEvent::Twin(other) => {
                    let address = other.address;
                    effects.push(Effect::Note(Note::Twin { address }));
                }
                MembershipEvent::Replaced { by } => {
                    let address = by.address;
                    effects.push(Effect::Note(Note::Replaced { address }));
                }
                MembershipEvent::Raised { .. } => self.counters_mut().add("incarnation_raised"),
            }
        }
        if changed {
            self.publish(now, effects);
        }
    }
}
