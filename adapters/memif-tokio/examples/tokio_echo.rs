//! Sends every packet back on the queue with the same number, with one task for each:
//! `cargo run --release --example tokio_echo -- PORT`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master,queues=2`. Ctrl-C ends the program.

use memif_pmd::{Burst, Memif, Port, ctrl_c};
use memif_tokio::{Error, Interface, RxQueue, TxQueue};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: echo PATH[,role=master|slave][,id=N][,queues=N]…")?;
    let memif = Memif::start()?;
    let (interface, mut events) = Interface::open(text.parse::<Port>()?.interface(&memif))?;

    let mut tasks = Vec::new();
    for index in 0..interface.inner().rx_count() {
        tasks.push(tokio::spawn(echo(interface.rx(index)?, interface.tx(index)?)));
    }
    let stop = ctrl_c()?; // SIGTERM and SIGHUP call it too: whichever comes, the socket file is removed
    let mut stopped = tokio::task::spawn_blocking(move || stop.wait(None));
    loop {
        tokio::select! {
            Some(event) = events.recv() => println!("{event:?}"),
            _ = &mut stopped => break,
        }
    }
    drop(interface); // ends the tasks
    for (index, task) in tasks.into_iter().enumerate() {
        println!("queue {index}: {} packets", task.await??);
    }
    Ok(())
}

/// Sends back what comes, until the interface is dropped. Returns how many packets.
pub(crate) async fn echo(mut rx: RxQueue, mut tx: TxQueue) -> Result<u64, Error> {
    let mut burst = Burst::new(64)?;
    loop {
        let sent = async {
            rx.recv(&mut burst).await?;
            tx.send(&mut burst).await
        };
        match sent.await {
            Ok(()) => {}
            Err(Error::Closed) => return Ok(rx.stats().packets),
            Err(error) => return Err(error),
        }
    }
}
