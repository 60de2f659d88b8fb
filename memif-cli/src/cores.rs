//! Threads on cores.

use memif_os::cpu::{CoreList, pin_current};
use memif_os::thread;
use memif_pmd::{Burst, Queues, Workers};

use crate::error::ToolError;

/// Checks that threads can be pinned to these cores, before anything is opened.
///
/// # Errors
/// A core does not exist or is not allowed; the error lists those that are.
pub(crate) fn check_cores(cores: &[usize]) -> Result<(), ToolError> {
    for core in cores.iter().copied() {
        // on a thread of its own, which stays pinned until it ends
        let pinned =
            thread::spawn("memif-core", None, move || pin_current(core)).map_err(ToolError::Thread)?;
        pinned.join().unwrap_or(Ok(()))?;
    }
    Ok(())
}

/// Adds task `index` to the workers, on the cores of the list in turn, or not pinned.
pub(crate) fn place<Q: Queues + 'static>(
    workers: Workers<'static>,
    cores: Option<&CoreList>,
    index: u16,
    queues: Q,
    work: impl FnMut(&mut Q, &mut Burst) + Send + 'static,
) -> Workers<'static> {
    match cores.and_then(|cores| cores.cores().iter().cycle().nth(index.into())) {
        Some(core) => workers.on_core(*core, queues, work),
        None => workers.anywhere(queues, work),
    }
}
