//! Looking at links from outside: `show`.
//!
//! | file | what |
//! | --- | --- |
//! | `args` | their command lines |
//! | `sampler` | indices of all links, often enough to count what passes; `rows`: what is shown of them |
//! | `show`, `table` | the list as text or JSON |

pub(crate) mod args;
mod rows;
mod sampler;
pub(crate) mod show;
mod table;
