//! Being a host on the link: `respond` and `ping`.
//!
//! | file | what |
//! | --- | --- |
//! | `address` | the addresses that they have |
//! | `stack` | smoltcp over the queues of a port |
//! | `respond`, `ping` | the commands |
//! | `replies` | which requests were answered, and the lines about it |

pub(crate) mod address;
pub(crate) mod ping;
mod replies;
pub(crate) mod respond;
mod stack;
