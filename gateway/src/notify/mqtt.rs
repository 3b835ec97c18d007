//! Publishes to an MQTT broker with QoS 1: delivered is what the broker acknowledged (PUBACK). One connection a delivery, with a clean
//! session, so that nothing is ever sent that nobody waits for.

use std::{sync::Arc, time::Duration};

use rumqttc::{QoS, Transport, v5};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::timeout;

use super::{
    NotifyError, WebhookConfig,
    formats::{
        Notice,
        mqtt::{Publish, Publishing},
    },
    receiver::{Answer, Tried},
};
use crate::model::Secret;

/// For packets in both directions; the largest message is a storm's group.
const MAX_PACKET: usize = 16 << 20;
/// Nobody waits for the broker to take a goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// Which MQTT is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, in which a broker takes silently what it does not allow.
    #[default]
    V4,
    /// MQTT 5, in which it says so.
    V5,
}

/// A broker, and what is published there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name or address.
    pub host: String,
    /// Default 1883, or 8883 with TLS.
    pub port: u16,
    /// With TLS: PEM with the CA certificates to trust, or `None` for those of the system.
    pub tls: Option<Option<String>>,
    /// Default `gateway-webhook-NAME`.
    pub client_id: String,
    /// User and password, if the broker wants them.
    pub login: Option<(String, Option<Secret>)>,
    /// Default 3.1.1.
    pub version: Version,
    /// Topic and payload.
    pub publishing: Publishing,
}

/// A broker, ready to be published to.
#[derive(Debug)]
pub(super) struct Publisher {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Publisher {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// [`NotifyError::Tls`]
    pub(super) fn new(webhook: &WebhookConfig, config: &Config) -> Result<Self, NotifyError> {
        let tls = match &config.tls {
            None => None,
            Some(ca) => {
                let tls = client_config(ca.as_deref()).map_err(|reason| NotifyError::Tls {
                    name: webhook.name.clone(),
                    reason,
                })?;
                Some(Arc::new(tls))
            }
        };
        Ok(Self {
            config: config.clone(),
            tls,
            timeout: webhook.timeout,
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, notice: &Notice<'_>) -> Tried {
        let publish = match self.config.publishing.publish(notice) {
            Ok(publish) => publish,
            Err(fault) => return Tried::refused(fault.to_string()),
        };
        // The gateway goes on with the id of its own meanwhile.
        let mut id = self.config.client_id.clone();
        if notice.test {
            id.push_str("-test");
        }
        let trying = async {
            match self.config.version {
                Version::V4 => self.publish_v4(id, publish).await,
                Version::V5 => self.publish_v5(id, publish).await,
            }
        };
        timeout(self.timeout, trying).await.unwrap_or_else(|_| {
            Tried::later(String::from("the broker does not answer in time"), None)
        })
    }

    fn transport(&self) -> Transport {
        self.tls.as_ref().map_or_else(Transport::tcp, |tls| {
            Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(Arc::clone(tls)))
        })
    }

    async fn publish_v4(&self, id: String, publish: Publish) -> Tried {
        let mut options = rumqttc::MqttOptions::new(id, &self.config.host, self.config.port);
        options
            .set_transport(self.transport())
            .set_clean_session(true)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some((user, password)) = &self.config.login {
            options.set_credentials(user, password.as_ref().map_or("", |p| &p.0));
        }
        let (client, mut eventloop) = rumqttc::AsyncClient::new(options, 4);
        if let Err(error) = client.try_publish(
            publish.topic,
            QoS::AtLeastOnce,
            publish.retain,
            publish.payload,
        ) {
            return Tried::refused(error.to_string());
        }
        loop {
            match eventloop.poll().await {
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) => break,
                Ok(_) => {}
                Err(rumqttc::ConnectionError::ConnectionRefused(code)) => {
                    return answered(format!("CONNACK {code:?}"), false);
                }
                Err(error) => return Tried::later(crate::cause::chain(&error), None),
            }
        }
        drop(client.try_disconnect());
        let goodbye = async { while eventloop.poll().await.is_ok() {} };
        drop(timeout(GOODBYE, goodbye).await);
        answered(String::from("PUBACK"), true)
    }

    async fn publish_v5(&self, id: String, publish: Publish) -> Tried {
        use v5::mqttbytes::v5::{Packet, PubAckReason};
        let mut options = v5::MqttOptions::new(id, &self.config.host, self.config.port);
        options
            .set_transport(self.transport())
            .set_clean_start(true)
            .set_max_packet_size(u32::try_from(MAX_PACKET).ok());
        if let Some((user, password)) = &self.config.login {
            options.set_credentials(user, password.as_ref().map_or("", |p| &p.0));
        }
        let (client, mut eventloop) = v5::AsyncClient::new(options, 4);
        if let Err(error) = client.try_publish(
            publish.topic,
            v5::mqttbytes::QoS::AtLeastOnce,
            publish.retain,
            publish.payload,
        ) {
            return Tried::refused(error.to_string());
        }
        let reason = loop {
            match eventloop.poll().await {
                Ok(v5::Event::Incoming(Packet::PubAck(ack))) => break ack.reason,
                Ok(_) => {}
                Err(v5::ConnectionError::ConnectionRefused(code)) => {
                    return answered(format!("CONNACK {code:?}"), false);
                }
                Err(error) => return Tried::later(crate::cause::chain(&error), None),
            }
        };
        drop(client.try_disconnect());
        let goodbye = async { while eventloop.poll().await.is_ok() {} };
        drop(timeout(GOODBYE, goodbye).await);
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                answered(format!("PUBACK {reason:?}"), true)
            }
            // What it does not take now it may take after a change of its rights, or when it has room.
            _ => answered(format!("PUBACK {reason:?}"), false),
        }
    }
}

fn answered(status: String, taken: bool) -> Tried {
    Tried {
        answer: if taken {
            Answer::Accepted
        } else {
            Answer::Later {
                error: format!("the broker answered {status}"),
                after: None,
            }
        },
        status: Some(status),
        said: String::new(),
    }
}

/// What rustls needs to trust a broker.
fn client_config(ca: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        None => {
            // What can't be parsed among the system's is not ours to complain about, as long as something is left.
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(String::from(
            "there is no certificate authority to trust: set `ca_file`, or install ca-certificates",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
