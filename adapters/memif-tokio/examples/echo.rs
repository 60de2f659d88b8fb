//! Sends every packet back on the queue with the same number, with one task for each: `cargo run --release --example echo --
//! PORT`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master,queues=2`. Ctrl-C ends the program.

use memif_pmd::{Burst, Memif, Port};
use memif_tokio::{Error, Interface, RxQueue, TxQueue};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: echo PATH[,role=master|slave][,id=N][,queues=N]…")?;
    let port: Port = text.parse()?;
    let memif = Memif::start()?;
    let (interface, mut events) = Interface::open(port.interface(&memif))?;

    let mut tasks = Vec::new();
    for index in 0..interface.inner().rx_count() {
        tasks.push(tokio::spawn(echo(interface.rx(index)?, interface.tx(index)?)));
    }
    loop {
        tokio::select! {
            Some(event) = events.recv() => println!("{event:?}"),
            signal = tokio::signal::ctrl_c() => break signal?,
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
