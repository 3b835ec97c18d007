//! `kind = "webhook"`: the JSON of `docs/webhooks.md`, or what templates make of it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Notice, Request};
use crate::{
    model::Secret,
    notify::template::{Fault, Template, context},
    state::Message,
};

/// What is written otherwise than by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The body and its content type.
    pub body: Option<(Template, String)>,
    /// Headers whose values are templates, by name.
    pub headers: BTreeMap<String, Template>,
    /// The address, when it is a template. Scheme, host and port are those that the template begins with.
    pub url: Option<Template>,
}

impl Config {
    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Result<Request, Fault> {
        let context = context(notice);
        let mut request = Request::json(&Json::Null);
        match &self.body {
            None => request.body = body(notice).to_string(),
            Some((template, content_type)) => {
                request.body = template.render(&context)?;
                request.content_type.clone_from(content_type);
            }
        }
        for (name, template) in &self.headers {
            request
                .headers
                .push((name.clone(), template.render(&context)?));
        }
        if let Some(template) = &self.url {
            request.url = Some(Secret(template.render(&context)?));
        }
        Ok(request)
    }
}

/// The message as it stands in the outbox, with `links` where there are some, and `test` where it is one.
pub(in crate::notify) fn body(notice: &Notice<'_>) -> Json {
    let mut body = json!(notice.message);
    let linked = |body: &mut Json, links: BTreeMap<&'static str, String>| {
        if !links.is_empty() {
            body["links"] = json!(links);
        }
    };
    match notice.message {
        Message::Alert(alert) => linked(&mut body, notice.links_of(alert)),
        Message::Group(group) => {
            for (alert, nth) in group.alerts.iter().zip(0..) {
                linked(&mut body["alerts"][nth], notice.links_of(alert));
            }
            let page = notice.links.page().map(|page| ("page", page));
            linked(&mut body, page.into_iter().collect());
        }
    }
    if notice.test {
        body["test"] = json!(true);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::{Links, template::Escape};

    #[test]
    fn by_default_the_message_itself_is_sent() {
        let (message, links) = (samples::firing(), Links::default());
        let request = Config::default()
            .request(&samples::notice(&message, &links))
            .unwrap();
        assert_eq!(
            Message::from_body(&request.body).unwrap(),
            message,
            "{}",
            request.body
        );
        assert!(!request.body.contains("\"links\"") && !request.body.contains("\"test\""));
        assert_eq!(request.content_type, "application/json");
    }

    #[test]
    fn links_and_the_mark_of_a_test_are_there_when_there_are_some() {
        let links = Links::new(Some("https://sensors.example/gateway/"), None);
        for message in [samples::firing(), samples::group(2)] {
            let mut notice = samples::notice(&message, &links);
            notice.test = true;
            let body = body(&notice);
            let page = "https://sensors.example/gateway/#alerts";
            assert_eq!(body["links"]["page"], page);
            assert_eq!(body["test"], true);
            if let Message::Group(_) = message {
                assert_eq!(body["alerts"][1]["links"]["page"], page);
            }
        }
    }

    #[test]
    fn what_fires_can_be_acknowledged_by_a_link_and_what_is_over_can_not() {
        let signer = crate::notify::Signer::new(&[7; crate::notify::KEY_BYTES]);
        let links = Links::new(Some("https://g.example"), Some(signer.clone()));
        let fired = samples::firing();
        let mut notice = samples::notice(&fired, &links);
        let link = body(&notice)["links"]["acknowledge"].clone();
        let token = link
            .as_str()
            .and_then(|link| link.strip_prefix("https://g.example/acknowledge/"))
            .unwrap();
        let before = crate::model::Timestamp(samples::NOW.0 - 1_000_000_000);
        let claim = signer.read(token, before).unwrap();
        assert_eq!(
            (claim.alert.as_str(), claim.webhook.as_str()),
            ("k3v9-0", "ops")
        );
        notice.until = None;
        assert!(body(&notice)["links"].get("acknowledge").is_none());
        let over = samples::resolved();
        let body = body(&samples::notice(&over, &links));
        assert!(body["links"].get("acknowledge").is_none());
    }

    #[test]
    fn templates_make_body_headers_and_address() {
        let template = |text: &str, escape| Template::new(text, escape).unwrap();
        let config = Config {
            body: Some((
                template(
                    r#"{"what": {{ title }}, "say": {{ alerts[0].summary }}}"#,
                    Escape::Json,
                ),
                String::from("application/json"),
            )),
            headers: BTreeMap::from([(
                String::from("x-rule"),
                template("{{ summary }}", Escape::Header),
            )]),
            url: Some(template(
                "https://h.example/{{ device }}?q={{ labels.site }}&no={{ labels.nobody }}",
                Escape::Url,
            )),
        };
        let (message, links) = (samples::group(2), Links::default());
        let request = config.request(&samples::notice(&message, &links)).unwrap();
        let body: Json = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["what"], "FIRING: site=green & house (2 firing)");
        assert_eq!(body["say"], "Open the \"vents\" <now> & *run*\nfast");
        assert_eq!(
            request.headers[0].1,
            "Open the \"vents\" <now> & *run* fast"
        );
        assert_eq!(
            request.url.unwrap().0,
            "https://h.example/boiler%20%231?q=green%20%26%20house&no="
        );
    }
}
