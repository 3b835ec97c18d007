//! A webhook receiver that fails in every way that one can: refuses for now and for good, says when to come back, hangs, hangs up before and
//! after it took what was sent. What it does with each try is drawn from a seed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What it does with a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// Takes it and says so.
    Take,
    /// Takes it and hangs up without an answer: the sender can't know.
    TakeInSilence,
    /// Takes it and answers 502, as a proxy before it would.
    TakeBehindAProxy,
    /// A status that says "later".
    Later(u16),
    /// 429 with `Retry-After: 1`.
    Busy,
    /// A status that says "never".
    Never(u16),
    /// Hangs up at once.
    HangUp,
    /// Reads and never answers.
    Hang,
    /// Answers something that is no HTTP.
    Nonsense,
}

const MOODS: [Mood; 14] = [
    Mood::Take,
    Mood::Take,
    Mood::Take,
    Mood::TakeInSilence,
    Mood::TakeBehindAProxy,
    Mood::Later(408),
    Mood::Later(425),
    Mood::Later(500),
    Mood::Later(503),
    Mood::Busy,
    Mood::Never(400),
    Mood::HangUp,
    Mood::Hang,
    Mood::Nonsense,
];

/// The receiver.
#[derive(Clone, Debug)]
pub struct MoodySink {
    address: SocketAddr,
    shared: Arc<Mutex<Seen>>,
}

#[derive(Debug)]
struct Seen {
    random: fastrand::Rng,
    kind: bool,
    /// By `webhook-id`: the body, and how often it was taken.
    taken: Vec<(String, Value)>,
    refused_for_good: Vec<String>,
    moods: BTreeMap<Mood, usize>,
}

impl MoodySink {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sink = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new(Mutex::new(Seen {
                random: fastrand::Rng::with_seed(seed),
                kind: false,
                taken: Vec::new(),
                refused_for_good: Vec::new(),
                moods: BTreeMap::new(),
            })),
        };
        let shared = Arc::clone(&sink.shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A sender that hangs up, or is killed, is one of the things that happen.
                    drop(serve(stream, &shared).await);
                });
            }
        });
        sink
    }

    /// Takes everything from now on.
    pub fn be_kind(&self) {
        self.shared.lock().expect("the sink").kind = true;
    }

    /// All that it took, in order: ids and bodies.
    #[must_use]
    pub fn taken(&self) -> Vec<(String, Value)> {
        self.shared.lock().expect("the sink").taken.clone()
    }

    /// The ids that it refused for good.
    #[must_use]
    pub fn refused_for_good(&self) -> Vec<String> {
        self.shared
            .lock()
            .expect("the sink")
            .refused_for_good
            .clone()
    }

    /// How often it was in which mood.
    #[must_use]
    pub fn moods(&self) -> BTreeMap<Mood, usize> {
        self.shared.lock().expect("the sink").moods.clone()
    }

    /// Its address for the config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

async fn serve(mut stream: TcpStream, shared: &Mutex<Seen>) -> std::io::Result<()> {
    while let Some((id, body)) = request(&mut stream).await? {
        let mood = {
            let mut seen = shared.lock().expect("the sink");
            let drawn = seen.random.choice(MOODS).unwrap_or(Mood::Take);
            let mood = if seen.kind { Mood::Take } else { drawn };
            *seen.moods.entry(mood).or_default() += 1;
            match mood {
                Mood::Take | Mood::TakeInSilence | Mood::TakeBehindAProxy => {
                    seen.taken.push((id, body));
                }
                Mood::Never(_) => seen.refused_for_good.push(id),
                _ => {}
            }
            mood
        };
        let answer = |status: u16, more: &str| {
            format!("HTTP/1.1 {status} so\r\n{more}content-length: 0\r\n\r\n")
        };
        let answer = match mood {
            Mood::Take => answer(200, ""),
            Mood::TakeBehindAProxy => answer(502, ""),
            Mood::Later(status) | Mood::Never(status) => answer(status, ""),
            Mood::Busy => answer(429, "retry-after: 1\r\n"),
            Mood::Nonsense => String::from("SSH-2.0-OpenSSH_9.2\r\n"),
            Mood::TakeInSilence | Mood::HangUp => return Ok(()),
            Mood::Hang => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return Ok(());
            }
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// The next request: its `webhook-id` and its body; `None` when the sender is done.
async fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Value)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let length: usize = header("content-length:")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let body = serde_json::from_slice(&bytes[end..end + length]).unwrap_or(Value::Null);
    Ok(Some((header("webhook-id:").unwrap_or_default(), body)))
}
