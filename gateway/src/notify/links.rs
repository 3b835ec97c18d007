//! Addresses that a message carries, so that who reads it can act: the page of the gateway. They are made when a message is sent, as the
//! address may have changed since it was written down.

use std::collections::BTreeMap;

use crate::state::AlertMessage;

/// What addresses are made from. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Where people reach the page, without a slash at the end.
    public_url: Option<String>,
}

impl Links {
    /// `public_url`: where people reach the page, as the config says it.
    #[must_use]
    pub fn new(public_url: Option<&str>) -> Self {
        Self {
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    /// Where the alerts are on the page.
    #[must_use]
    pub fn page(&self) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(format!("{url}/#alerts"))
    }

    /// The addresses of one alert by name: `page`; and `acknowledge`, where there is one.
    #[must_use]
    pub fn of(&self, _alert: &AlertMessage) -> BTreeMap<&'static str, String> {
        self.page().map(|page| ("page", page)).into_iter().collect()
    }
}
