//! Reserves huge pages while a scenario needs them. The runner changes no other setting of the machine, and restores this
//! one.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;

/// The kernel's pool of 2 MiB pages, enlarged if necessary. Restored on drop.
#[derive(Debug)]
pub struct Reserved {
    pool: PathBuf,
    /// Size of the pool before it was enlarged; `None` if it was large enough.
    before: Option<u64>,
}

impl Reserved {
    /// Makes sure that `needed` huge pages of 2 MiB are free.
    ///
    /// # Errors
    /// [`Error::HugePages`]: there are too few, and the pool cannot be enlarged.
    pub fn new(needed: u64) -> Result<Self, Error> {
        let mut reserved = Self { pool: "/sys/kernel/mm/hugepages/hugepages-2048kB".into(), before: None };
        let free = reserved.free();
        if free < needed {
            let total = reserved.number("nr_hugepages");
            let wanted = total + (needed - free);
            reserved.before = Some(total);
            let knob = reserved.pool.join("nr_hugepages");
            let written = fs::write(&knob, wanted.to_string());
            let free = reserved.free();
            if written.is_err() || free < needed {
                let remedy = format!("as root, free memory and echo {wanted} > {}", knob.display());
                return Err(Error::HugePages { needed, free, remedy });
            }
        }
        Ok(reserved)
    }

    fn free(&self) -> u64 {
        self.number("free_hugepages").saturating_sub(self.number("resv_hugepages"))
    }

    /// A number in the kernel's description of the pool; 0 on a machine without huge pages.
    fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.pool.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // whoever could not raise it cannot and need not lower it
            let _ = fs::write(self.pool.join("nr_hugepages"), before.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_large_enough_is_not_changed() {
        assert_eq!(Reserved::new(0).unwrap().before, None);
    }
}
