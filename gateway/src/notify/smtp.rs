//! Sends mails (RFC 5321) with lettre: one connection a mail. A 4xx answer and no answer are tried again, a 5xx is refused for good.

use std::fmt;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart, header},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};

use super::{
    NotifyError, WebhookConfig,
    formats::{Notice, email},
    receiver::{Answer, Tried},
};
use crate::model::Secret;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Plain at first, and then TLS or nothing (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
    /// Not at all: on the same machine or in a network of one's own.
    None,
}

/// A mail server, and who writes to whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name or address.
    pub host: String,
    /// Default 587, 465 or 25.
    pub port: u16,
    /// Default [`Security::StartTls`].
    pub security: Security,
    /// PEM with the CA certificates to trust; `None`: those of the system.
    pub ca: Option<String>,
    /// User and password, if the server wants them.
    pub login: Option<(String, Secret)>,
    /// Who writes.
    pub from: Mail,
    /// Who reads; at least one.
    pub to: Vec<Mail>,
}

/// An address, with a name or without: `Gateway <gateway@example.org>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail(Mailbox);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("smtp::Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl Mail {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: lettre::address::AddressError| error.to_string())
    }

    fn address(&self) -> &Address {
        &self.0.email
    }
}

/// A mail server, ready to be sent to.
pub(super) struct Mailer {
    config: Config,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// [`NotifyError::Mail`]
    pub(super) fn new(webhook: &WebhookConfig, config: &Config) -> Result<Self, NotifyError> {
        let unusable = |error: lettre::transport::smtp::Error| NotifyError::Mail {
            name: webhook.name.clone(),
            reason: crate::cause::chain(&error),
        };
        let parameters = || -> Result<TlsParameters, lettre::transport::smtp::Error> {
            let mut parameters = TlsParameters::builder(config.host.clone());
            if let Some(ca) = &config.ca {
                parameters = parameters
                    .certificate_store(CertificateStore::None)
                    .add_root_certificate(Certificate::from_pem(ca.as_bytes())?);
            }
            parameters.build()
        };
        let tls = match config.security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(parameters().map_err(unusable)?),
            Security::Tls => Tls::Wrapper(parameters().map_err(unusable)?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
                .port(config.port)
                .timeout(Some(webhook.timeout))
                .tls(tls);
        if let Some((user, password)) = &config.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.0.clone()));
        }
        Ok(Self {
            config: config.clone(),
            transport: builder.build(),
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, notice: &Notice<'_>) -> Tried {
        let message = match self.message(&email::mail(notice)) {
            Ok(message) => message,
            Err(error) => return Tried::refused(format!("the mail can't be written: {error}")),
        };
        match self.transport.send(message).await {
            Ok(response) => Tried {
                answer: Answer::Accepted,
                status: Some(response.code().to_string()),
                said: response.message().collect::<Vec<_>>().join("\n"),
            },
            Err(error) => {
                let text = format!("the mail server: {}", crate::cause::chain(&error));
                Tried {
                    status: error.status().map(|code| code.to_string()),
                    said: String::new(),
                    answer: if error.is_permanent() {
                        Answer::Refused { error: text }
                    } else {
                        Answer::Later {
                            error: text,
                            after: None,
                        }
                    },
                }
            }
        }
    }

    fn message(&self, mail: &email::Mail) -> Result<Message, lettre::error::Error> {
        let domain = self.config.from.address().domain();
        let thread = format!("<{}@{domain}>", mail.thread);
        let mut builder = Message::builder()
            .from(self.config.from.0.clone())
            .message_id(Some(format!("<{}@{domain}>", mail.id)))
            .in_reply_to(thread.clone())
            .references(thread)
            .subject(mail.subject.clone())
            // Nobody's out-of-office notes shall answer (RFC 3834).
            .raw_header(header::HeaderValue::new(
                header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                String::from("auto-generated"),
            ));
        for reader in &self.config.to {
            builder = builder.to(reader.0.clone());
        }
        builder.multipart(MultiPart::alternative_plain_html(
            mail.plain.clone(),
            mail.html.clone(),
        ))
    }
}
