//! `show`, `dump` and `exporter`, which observe the links of other programs.
//!
//! | file | what |
//! | --- | --- |
//! | `sampler` | reads the indices of all links, often enough to count packets; `rows` computes the values to show |
//! | `show`, `table`, `metrics` | the list as text, JSON or OpenMetrics |
//! | `exporter` | the list as OpenMetrics, over HTTP |
//! | `watch`, `screen` | the list on a terminal, live |
//! | `dump`, `lines`, `pcapng` | packets, as text or as a capture |

pub(crate) mod dump;
pub(crate) mod exporter;
mod lines;
mod metrics;
pub(crate) mod pcapng;
mod rows;
mod sampler;
mod screen;
pub(crate) mod show;
mod table;
mod watch;
