//! `memif respond`: answers ARP, neighbour solicitations and echo requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memif_os::clock::monotonic_ns;
use memif_pmd::Workers;

use super::stack::Stack;
use crate::args::RespondArgs;
use crate::cores::place;
use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::session::CaptureUse;
use crate::status::Voice;
use crate::tools::{COUNTERS_ONLY, idle_for, instance, run, start};

/// `memif respond`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn respond(args: &RespondArgs) -> Result<(), ToolError> {
    let session = start(&args.run, Voice::of(args.run.span.json))?;
    let port = session.open(&args.port.parse()?, CaptureUse::None)?;
    let identity = args.identity.identity(&*port)?;
    let make = || {
        let stack = Stack::new(&*port, &identity, instance())?;
        let published = Arc::<Published>::default();
        let mut feeds = Feeds::default();
        feeds.follow(published.clone());
        let unanswered = Arc::<AtomicU64>::default();
        feeds.follow_unanswered(unanswered.clone());
        let idle = idle_for(&stack.modes(), port.is_of_kernel());
        let mut counts = Counts::default();
        let workers = Workers::new().burst(args.run.burst.into()).idle(idle);
        let workers = place(workers, args.run.core.as_ref(), 0, stack, move |stack: &mut Stack, burst| {
            let before = counts;
            stack.turn(burst.capacity());
            unanswered.store(stack.unanswered(), Ordering::Relaxed);
            let moved = stack.moved();
            if moved.packets != before.packets {
                counts.reached(moved.packets, moved.bytes, monotonic_ns());
                published.publish(&counts);
            }
        });
        Ok((workers, feeds))
    };
    run(&session, &[&*port], make, &args.run, COUNTERS_ONLY).map(drop)
}
