//! Addresses that a message carries, so that who reads it can act: the page of the gateway, and a signed link to acknowledge. They are
//! made when a message is sent, as the gateway's own address may have changed since it was written down.

use std::collections::BTreeMap;

use super::Signer;
use crate::{
    model::Timestamp,
    state::{AlertMessage, Event},
};

/// What addresses are made from. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Where people reach the page, without a slash at the end.
    public_url: Option<String>,
    /// Signs the links that acknowledge; none: there are no such links.
    signer: Option<Signer>,
}

impl Links {
    /// `public_url`: where people reach the page, as the config says it.
    #[must_use]
    pub fn new(public_url: Option<&str>, signer: Option<Signer>) -> Self {
        Self {
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            signer,
        }
    }

    /// Where the alerts are on the page.
    #[must_use]
    pub fn page(&self) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(format!("{url}/#alerts"))
    }

    /// The addresses of one alert in a message to `webhook` by name: `page`, and `acknowledge` for one that fires, good until then.
    #[must_use]
    pub fn of(
        &self,
        alert: &AlertMessage,
        webhook: &str,
        until: Option<Timestamp>,
    ) -> BTreeMap<&'static str, String> {
        let mut links: BTreeMap<_, _> =
            self.page().map(|page| ("page", page)).into_iter().collect();
        if let (Some(url), Some(signer), Some(until), Event::Firing) =
            (&self.public_url, &self.signer, until, alert.event)
        {
            let token = signer.token(&alert.alert_id, webhook, until);
            links.insert("acknowledge", format!("{url}/acknowledge/{token}"));
        }
        links
    }
}
