//! `respond` and `ping`: the tool acts as an IP host at one end of a link.
//!
//! | file | what |
//! | --- | --- |
//! | `address` | the addresses of the host |
//! | `stack` | smoltcp over the queues of a port |
//! | `respond`, `ping` | the commands |
//! | `replies` | counts requests and answers, and formats the output of `ping` |

pub(crate) mod address;
pub(crate) mod ping;
mod replies;
pub(crate) mod respond;
mod stack;
