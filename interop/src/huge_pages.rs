//! Huge pages for as long as a scenario needs them: the one setting of the machine that is touched, and put back.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;

/// The kernel's pool of 2 MiB pages, as large as it has to be; dropped = as large as it was.
#[derive(Debug)]
pub struct Reserved {
    pool: PathBuf,
    /// Pages that the pool had before, if it had to grow.
    before: Option<u64>,
}

impl Reserved {
    /// At least `needed` free huge pages of 2 MiB.
    ///
    /// # Errors
    /// [`Error::HugePages`], which says how to get them.
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

    /// A machine without huge pages has none of anything.
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
    fn nothing_is_changed_when_nothing_is_needed() {
        assert_eq!(Reserved::new(0).unwrap().before, None);
    }
}
