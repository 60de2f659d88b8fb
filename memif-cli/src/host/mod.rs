//! Being a host on the link: `respond` and `ping`.
//!
//! | file | what |
//! | --- | --- |
//! | `args` | their command lines |
//! | `address` | the addresses that they have |
//! | `stack` | smoltcp over the queues of a port |
//! | `respond`, `ping` | the commands |
//! | `replies` | which requests were answered, and the lines about it |

mod address;
pub(crate) mod args;
pub(crate) mod ping;
mod replies;
pub(crate) mod respond;
mod stack;
