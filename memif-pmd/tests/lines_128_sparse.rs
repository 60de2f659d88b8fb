//! The tests of `hostile_sparse` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_sparse.rs"]
mod hostile_sparse;

use hostile_sparse::common;
