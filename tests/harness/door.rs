//! A door in front of a server, under an address that stays: it refuses, hangs or resets connections when told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How the door stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What comes is let through.
    Open,
    /// Nobody listens.
    Refused,
    /// Connections are taken and never answered.
    Hanging,
    /// A request is cut with a reset after its first bytes.
    Reset,
}

/// A running door. It ends when it is dropped.
#[derive(Debug)]
pub struct Door {
    /// Where to knock.
    pub address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    listening: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    /// Opens one before the server at `behind`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn open(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let way = Arc::new(watch::Sender::new(Way::Open));
        let listening = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(keep(
            listener,
            behind,
            way.subscribe(),
            Arc::clone(&listening),
        ));
        Self {
            address,
            way,
            listening,
            task,
        }
    }

    /// Its address for a config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stands so from now on; connections that are open are cut. Returns when it does.
    ///
    /// # Panics
    ///
    /// When its task has died.
    pub async fn stand(&self, way: Way) {
        self.way.send_replace(way);
        let wanted = way != Way::Refused;
        let mut listening = self.listening.subscribe();
        listening
            .wait_for(|is| *is == wanted)
            .await
            .expect("the door is there");
    }
}

async fn keep(
    listener: TcpListener,
    behind: SocketAddr,
    mut way: watch::Receiver<Way>,
    listening: Arc<watch::Sender<bool>>,
) {
    let address = listener.local_addr().expect("an address");
    let mut listener = Some(listener);
    loop {
        if *way.borrow_and_update() == Way::Refused {
            drop(listener.take());
            listening.send_replace(false);
            if way.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = Some(bind_again(address).await);
            listening.send_replace(true);
        }
        let Some(open) = &listener else { continue };
        tokio::select! {
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                tokio::spawn(admit(client, behind, way.clone()));
            },
            changed = way.changed() => if changed.is_err() { return },
        }
    }
}

/// Somebody else may hold the port for a moment.
async fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn admit(mut client: TcpStream, behind: SocketAddr, mut way: watch::Receiver<Way>) {
    let now = *way.borrow_and_update();
    let passing = async {
        match now {
            Way::Open => {
                let Ok(mut server) = TcpStream::connect(behind).await else {
                    return;
                };
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            }
            Way::Hanging => std::future::pending().await,
            Way::Reset | Way::Refused => {
                drop(client.read(&mut [0; 64]).await);
                // Without a goodbye: the peer gets a reset.
                drop(client.set_zero_linger());
            }
        }
    };
    tokio::select! {
        () = passing => {}
        _ = way.changed() => {}
    }
}
