//! `kind = "mqtt"`: a message published to a broker: our JSON, or what a template makes of it, on a topic that a template makes.

use super::{Notice, json};
use crate::notify::template::{Fault, Template, context};

/// What is published where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// The topic; what a value brings is without `/`, `+`, `#`.
    pub topic: Template,
    /// The payload, if not the JSON of `docs/webhooks.md`.
    pub body: Option<Template>,
    /// Whether the broker keeps it for those who come later. Default false.
    pub retain: bool,
}

/// What goes to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::notify) struct Publish {
    pub(in crate::notify) topic: String,
    pub(in crate::notify) payload: String,
    pub(in crate::notify) retain: bool,
}

impl Publishing {
    /// The packet that tells of it.
    ///
    /// # Errors
    ///
    /// When a template can't say it.
    pub(in crate::notify) fn publish(&self, notice: &Notice<'_>) -> Result<Publish, Fault> {
        let context = context(notice);
        let payload = match &self.body {
            None => json::body(notice).to_string(),
            Some(template) => template.render(&context)?,
        };
        Ok(Publish {
            topic: self.topic.render(&context)?,
            payload,
            // A test must not stay.
            retain: self.retain && !notice.test,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::{
        notify::{Links, template::Escape},
        state::Message,
    };

    #[test]
    fn the_topic_is_made_from_the_message_and_values_stay_in_their_level() {
        let publishing = Publishing {
            topic: Template::new("alerts/{{ device }}/{{ series }}", Escape::Topic).unwrap(),
            body: None,
            retain: true,
        };
        let (message, links) = (samples::firing(), Links::default());
        let publish = publishing
            .publish(&samples::notice(&message, &links))
            .unwrap();
        assert_eq!(publish.topic, "alerts/boiler _1/boiler _1_temperature");
        assert_eq!(Message::from_body(&publish.payload).unwrap(), message);
        assert!(publish.retain);
    }
}
