//! Routes and their documentation, declared together.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use serde_json::{Map, Value, json};

use super::app::App;

/// The schemas of bodies, by name.
const SCHEMAS: &str = include_str!("schemas.json");

/// A method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    const fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Put => MethodFilter::PUT,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Put => "put",
            Verb::Post => "post",
            Verb::Delete => "delete",
        }
    }
}

/// What the document says about a route.
#[derive(Clone, Debug)]
pub struct Doc {
    summary: &'static str,
    parameters: Vec<(&'static str, &'static str, &'static str)>,
    takes: Vec<(&'static str, &'static str)>,
    answers: (&'static str, &'static str),
}

impl Doc {
    /// A route that does what `summary` says and answers a JSON object.
    pub fn new(summary: &'static str) -> Doc {
        let answers = ("application/json", "Object");
        Doc { summary, parameters: Vec::new(), takes: Vec::new(), answers }
    }

    /// It understands a query parameter.
    pub fn query(mut self, name: &'static str, meaning: &'static str) -> Doc {
        self.parameters.push(("query", name, meaning));
        self
    }

    /// It understands a request header.
    pub fn header(mut self, name: &'static str, meaning: &'static str) -> Doc {
        self.parameters.push(("header", name, meaning));
        self
    }

    /// It takes a body of this schema.
    pub fn takes(mut self, media: &'static str, schema: &'static str) -> Doc {
        self.takes.push((media, schema));
        self
    }

    /// It answers a body of this schema.
    pub fn answers(mut self, media: &'static str, schema: &'static str) -> Doc {
        self.answers = (media, schema);
        self
    }

    fn operation(&self, path: &str) -> Value {
        let mut parameters: Vec<Value> = path_parameters(path)
            .map(|name| parameter("path", name, "Percent-encoded.", true))
            .collect();
        let named = self.parameters.iter();
        parameters.extend(named.map(|(place, name, text)| parameter(place, name, text, false)));
        let content = |(media, schema): &(&str, &str)| ((*media).to_owned(), schema_of(schema));
        let mut operation = json!({
            "summary": self.summary,
            "parameters": parameters,
            "responses": {
                "200": {
                    "description": "Done.",
                    "content": Value::Object([content(&self.answers)].into_iter().collect()),
                },
                "default": {
                    "description": "Not done, or not known to be done.",
                    "content": { "application/problem+json": schema_of("Problem") },
                },
            },
        });
        if let (Value::Object(fields), false) = (&mut operation, self.takes.is_empty()) {
            let bodies: Map<String, Value> = self.takes.iter().map(content).collect();
            fields.insert("requestBody".to_owned(), json!({ "required": true, "content": bodies }));
        }
        operation
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(place: &str, name: &str, text: &str, required: bool) -> Value {
    json!({
        "in": place,
        "name": name,
        "description": text,
        "required": required,
        "schema": { "type": "string" },
    })
}

fn schema_of(name: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } })
}

/// Collects the routes.
#[derive(Debug)]
pub struct Api {
    router: Router<App>,
    paths: Map<String, Value>,
}

impl Api {
    pub fn new() -> Api {
        Api { router: Router::new(), paths: Map::new() }
    }

    /// Adds a route and its documentation.
    pub fn route<H, T>(mut self, verb: Verb, path: &'static str, handler: H, doc: &Doc) -> Api
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.router = self.router.route(path, on(verb.filter(), handler));
        let methods = self.paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = methods {
            methods.insert(verb.name().to_owned(), doc.operation(path));
        }
        self
    }

    /// The router and the OpenAPI document of everything that was added.
    pub fn finish(self) -> (Router<App>, Value) {
        let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "kvorum",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Data and state of a kvorum node.",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": schemas },
        });
        (self.router, document)
    }
}
