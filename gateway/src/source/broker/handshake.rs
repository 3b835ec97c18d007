//! The first packet of a connection: which protocol, who, and whether it may stay.

use std::time::Duration;

use bytes::BytesMut;
use smol_str::SmolStr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Config, auth, encode,
    packet::{self, Connect, NotConnect, Reason, Version},
    topic,
};

/// The longest client id, in bytes.
pub(super) const MAX_CLIENT_ID_BYTES: usize = 256;
/// How long a farewell may take, and how long we wait for the client to close its side.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// A client that may stay.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) version: Version,
    pub(super) connect: Connect,
    pub(super) client_id: SmolStr,
    /// We chose the id.
    pub(super) assigned: bool,
}

/// Why a connection ended before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuff {
    /// To be told so, if its protocol has a word for it.
    Refused(Version, Reason),
    /// Not MQTT, or gone already.
    Silent(&'static str),
}

/// Reads the CONNECT; what follows it stays in `inbox`.
///
/// # Errors
///
/// [`Rebuff`]
pub(super) async fn greet(
    stream: &mut TcpStream,
    inbox: &mut BytesMut,
    config: &Config,
) -> Result<Guest, Rebuff> {
    let version = tokio::time::timeout(config.connect_timeout, first(stream, inbox, config))
        .await
        .unwrap_or(Err(Rebuff::Silent("connect_timeout")))?;
    let refused = |reason| Rebuff::Refused(version, reason);
    let connect = packet::cut(inbox, config.max_packet_bytes)
        .and_then(|packet| packet.ok_or(Reason::Malformed))
        .and_then(|packet| version.connect(packet))
        .map_err(refused)?;
    if connect.enhanced_authentication {
        return Err(refused(Reason::BadAuthenticationMethod));
    }
    auth::check(&config.users, connect.login.as_ref()).map_err(refused)?;
    if let Some(will) = &connect.will {
        topic::check_name(&will.topic).map_err(refused)?;
    }
    if connect.client_id.len() > MAX_CLIENT_ID_BYTES
        || connect.client_id.chars().any(char::is_control)
        || (connect.client_id.is_empty() && version == Version::V4 && !connect.clean)
    {
        return Err(refused(Reason::ClientIdInvalid));
    }
    let assigned = connect.client_id.is_empty();
    let client_id = if assigned {
        smol_str::format_smolstr!("anonymous-{:016x}", fastrand::u64(..))
    } else {
        SmolStr::from(connect.client_id.as_str())
    };
    Ok(Guest {
        version,
        connect,
        client_id,
        assigned,
    })
}

async fn first(
    stream: &mut TcpStream,
    inbox: &mut BytesMut,
    config: &Config,
) -> Result<Version, Rebuff> {
    loop {
        match packet::first(inbox, config.max_packet_bytes) {
            Ok(Some(version)) => return Ok(version),
            Ok(None) => {}
            Err(NotConnect::Foreign) => return Err(Rebuff::Silent("not_mqtt")),
            Err(NotConnect::TooLarge) => return Err(Rebuff::Silent("packet_too_large")),
            Err(NotConnect::TooOld) => {
                return Err(Rebuff::Refused(Version::V4, Reason::UnsupportedVersion));
            }
            Err(NotConnect::TooNew) => {
                return Err(Rebuff::Refused(Version::V5, Reason::UnsupportedVersion));
            }
        }
        inbox.reserve(1024);
        match stream.read_buf(inbox).await {
            Ok(0) | Err(_) => return Err(Rebuff::Silent("gone")),
            Ok(_) => {}
        }
    }
}

/// Tells a client that it may not stay.
pub(super) async fn refuse(mut stream: TcpStream, version: Version, reason: Reason) {
    let mut out = BytesMut::new();
    encode::refusal(&mut out, version, reason);
    farewell(&mut stream, &out, true).await;
}

/// Writes the last bytes and closes. With `linger`, what the client still sends is read and thrown away for a
/// moment: closing over unread bytes would reset the connection, and the client might never see why.
pub(super) async fn farewell(stream: &mut TcpStream, last: &[u8], linger: bool) {
    let close = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while linger && stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The client may be gone, or not care: either way the connection ends here.
    let _gone_or_slow = tokio::time::timeout(FAREWELL_WITHIN, close).await;
}
