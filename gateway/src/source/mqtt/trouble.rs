//! What can go wrong with a broker, in a person's words and with a remedy.

use std::io;

use rumqttc::{ConnectReturnCode, StateError, TlsError, v5};
use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

/// Why there is no connection. The texts go to the status page behind the broker's address.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("the broker refused user or password; check `username` and `password`")]
    Credentials,
    #[error(
        "the broker does not let this client in; check its access rules, and whether it wants `username` and `password`"
    )]
    NotAuthorised,
    #[error("the broker refused the client id; choose another `client_id`")]
    ClientId,
    #[error("the broker does not speak this protocol version; try the other `version`")]
    Version,
    #[error("the broker refused the connection ({0}); it is tried again")]
    Refused(String),
    #[error("no host of this name is known; check `host` and the name server")]
    NameNotFound,
    #[error("nothing listens there; is the broker running, and is `port` right?")]
    NothingListens,
    #[error("the host can't be reached; check the network")]
    Unreachable(#[source] io::Error),
    #[error("no answer in time; check the network and the broker's load")]
    TimedOut,
    #[error("the broker closed the connection")]
    Closed,
    #[error(
        "another client has connected with the same client id and taken the session over; give each its own `client_id`"
    )]
    TakenOver,
    #[error(
        "the broker closes the connection again and again soon after it was made; most likely another client uses the \
         same client id: give each its own `client_id`"
    )]
    ClosedAgain,
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    #[error(
        "a message on a subscribed topic is larger than {max} bytes and blocks the connection; narrow the \
         subscription, or clear the message if it is retained"
    )]
    PacketTooLarge { max: usize },
    #[error(
        "a subscribed topic is not valid UTF-8, which ends the connection; narrow the subscription"
    )]
    TopicNotUtf8,
    #[error("the broker sends more unacknowledged messages than it was allowed to")]
    Flooded,
    #[error(
        "its certificate was signed by an authority that is not trusted; set `ca_file` to that of the broker"
    )]
    UnknownIssuer,
    #[error("its certificate is for another name; set `host` to a name in the certificate")]
    OtherName,
    #[error("its certificate is not valid now; renew it, or set this machine's clock")]
    NotValidNow,
    #[error("its certificate is not acceptable ({0})")]
    Certificate(String),
    #[error(
        "the broker does not accept our certificate ({0}); check `certificate_file` and `key_file`"
    )]
    OurCertificate(String),
    #[error("the broker does not speak TLS on this port")]
    NotTls,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("cannot read {file}; check the path and its permissions")]
    TlsFile {
        file: String,
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    #[error("{0} holds no certificate in PEM form")]
    NoCertificate(String),
    #[error("`certificate_file` and `key_file` belong together; set both or neither")]
    HalfAPair,
    #[error(
        "this system has no certificate authorities to trust; install ca-certificates, or set `ca_file`"
    )]
    NoRoots,
    #[error("the broker breaks the protocol: {0}")]
    Protocol(String),
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl Trouble {
    /// The text with its causes, as a person reads it.
    pub(super) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// A connection of MQTT 3.1.1 failed; `max` is the largest packet that it takes.
    pub(super) fn of_v4(error: rumqttc::ConnectionError, max: usize) -> Self {
        use rumqttc::{ConnectionError as E, Error as Codec};
        match error {
            E::ConnectionRefused(code) => match code {
                ConnectReturnCode::BadUserNamePassword => Self::Credentials,
                ConnectReturnCode::NotAuthorized => Self::NotAuthorised,
                ConnectReturnCode::BadClientId => Self::ClientId,
                ConnectReturnCode::RefusedProtocolVersion => Self::Version,
                code => Self::Refused(format!("{code:?}")),
            },
            E::NetworkTimeout | E::FlushTimeout => Self::TimedOut,
            E::Io(error) => Self::of_io(error),
            E::Tls(error) => Self::of_tls(error),
            E::MqttState(error) => match error {
                StateError::Io(error) | StateError::Deserialization(Codec::Io(error)) => {
                    Self::of_io(error)
                }
                StateError::Deserialization(Codec::PayloadSizeLimitExceeded(_)) => {
                    Self::PacketTooLarge { max }
                }
                StateError::Deserialization(Codec::TopicNotUtf8) => Self::TopicNotUtf8,
                StateError::ConnectionAborted => Self::Closed,
                StateError::AwaitPingResp => Self::TimedOut,
                error => Self::Protocol(error.to_string()),
            },
            error => Self::Protocol(error.to_string()),
        }
    }

    /// A connection of MQTT 5 failed; `max` is the largest packet that it takes.
    pub(super) fn of_v5(error: v5::ConnectionError, max: usize) -> Self {
        use v5::{
            ConnectionError as E, StateError as S,
            mqttbytes::{
                Error as Codec,
                v5::{ConnectReturnCode as C, DisconnectReasonCode},
            },
        };
        match error {
            E::ConnectionRefused(code) => match code {
                C::BadUserNamePassword | C::BadAuthenticationMethod => Self::Credentials,
                C::NotAuthorized | C::Banned => Self::NotAuthorised,
                C::BadClientId | C::ClientIdentifierNotValid => Self::ClientId,
                C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => Self::Version,
                code => Self::Refused(format!("{code:?}")),
            },
            E::Timeout(_) => Self::TimedOut,
            E::Io(error) => Self::of_io(error),
            E::Tls(error) => Self::of_tls(error),
            E::MqttState(error) => match error {
                S::Io(error) | S::Deserialization(Codec::Io(error)) => Self::of_io(error),
                S::Deserialization(Codec::PayloadSizeLimitExceeded { .. })
                | S::IncomingPacketTooLarge { .. } => Self::PacketTooLarge { max },
                S::Deserialization(Codec::TopicNotUtf8) => Self::TopicNotUtf8,
                S::ConnectionAborted => Self::Closed,
                S::AwaitPingResp => Self::TimedOut,
                S::ServerDisconnect {
                    reason_code: DisconnectReasonCode::SessionTakenOver,
                    ..
                } => Self::TakenOver,
                S::ServerDisconnect {
                    reason_code,
                    reason_string,
                } => Self::Ended(reason_string.unwrap_or_else(|| format!("{reason_code:?}"))),
                error => Self::Protocol(error.to_string()),
            },
            error => Self::Protocol(error.to_string()),
        }
    }

    fn of_tls(error: TlsError) -> Self {
        match error {
            TlsError::Io(error) => Self::of_io(error),
            TlsError::TLS(error) => Self::of_rustls(&error),
            error => Self::Tls(error.to_string()),
        }
    }

    pub(super) fn of_io(error: io::Error) -> Self {
        if let Some(error) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::of_rustls(error);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::NothingListens,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Self::Unreachable(error)
            }
            _ => Self::Io(error),
        }
    }

    pub(super) fn of_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(cause) => match cause {
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::NotValidNow,
                cause => Self::Certificate(cause.to_string()),
            },
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::HandshakeFailure),
            ) => Self::OurCertificate(format!("{alert:?}")),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            error => Self::Tls(error.to_string()),
        }
    }
}
