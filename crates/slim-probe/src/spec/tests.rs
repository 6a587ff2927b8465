use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// `METHOD path | header: value … | body`.
fn lines(spec: &Value, prefix: Option<&str>) -> Vec<String> {
    let spec_file =
        ApiSpec::File { path: "api.json".into(), contents: Vec::new(), prefix: prefix.map(normal) };
    let commands = spec_file.commands(spec.to_string().as_bytes()).unwrap();
    commands.iter().map(line).collect()
}

fn line(command: &ProbeCommand) -> String {
    let headers: Vec<String> =
        command.headers.iter().map(|header| format!("{}: {}", header.name, header.value)).collect();
    let body = command.body.as_ref().map(|body| String::from_utf8_lossy(body.as_bytes()).into_owned());
    let parts =
        [format!("{} {}", command.method, command.path), headers.join(", "), body.unwrap_or_default()];
    parts.join(" | ").trim_end_matches([' ', '|']).to_owned()
}

#[test]
fn every_operation_is_a_command_and_those_that_change_come_last() {
    let spec = json!({"openapi": "3.0.3", "servers": [{"url": "https://api.example.com/{version}/",
        "variables": {"version": {"default": "v2"}}}, {"url": "/other"}],
        "paths": {
            "/pets/{petId}": {"parameters": [{"name": "petId", "in": "path", "required": true, "schema": {"type": "string"}}],
                "delete": {}, "get": {"parameters": [{"name": "petId", "in": "path", "schema": {"type": "string", "format": "uuid"}}]},
                "put": {}, "trace": {}, "summary": "x"},
            "/pets": {"post": {}, "get": {}, "head": {}},
            "/files/{name}": {"$ref": "#/items/file"}},
        "items": {"file": {"get": {}, "servers": [{"url": "/files-at"}]}}});
    let expected = [
        "GET /files-at/files/text",
        "GET /v2/pets",
        "HEAD /v2/pets",
        "GET /v2/pets/00000000-0000-4000-8000-000000000001",
        "POST /v2/pets",
        "PUT /v2/pets/1",
        "DELETE /v2/pets/1",
    ];
    assert_eq!(lines(&spec, None), expected);
    assert_eq!(lines(&spec, Some("api"))[1], "GET /api/pets");
    assert_eq!(lines(&spec, Some("/"))[1], "GET /pets");
}

#[test]
fn required_parameters_are_given_where_they_belong() {
    let parameter = |name: &str, place: &str, rest: Value| {
        let mut parameter = json!({"name": name, "in": place, "required": true});
        parameter.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        parameter
    };
    let parameters = json!([
        parameter("q", "query", json!({"schema": {"type": "string"}, "examples": {"one": {"value": "two words"}}})),
        parameter("ids", "query", json!({"schema": {"type": "array", "minItems": 2, "items": {"type": "integer"}}})),
        parameter("csv", "query", json!({"explode": false, "schema": {"example": [1, 2]}})),
        parameter("deep", "query", json!({"style": "deepObject", "schema": {"properties": {"a": {"type": "integer"}}}})),
        parameter("json", "query", json!({"content": {"application/json": {"schema": {"enum": [[1]]}}}})),
        parameter("X-Key", "header", json!({"schema": {"default": "k"}})),
        parameter("Host", "header", json!({"schema": {"default": "elsewhere"}})),
        parameter("X-Bad", "header", json!({"schema": {"default": "a\nb"}})),
        parameter("session", "cookie", json!({"schema": {"type": "string", "default": "s"}})),
        {"name": "optional", "in": "query", "schema": {"type": "string"}},
        {"$ref": "#/components/parameters/Page"}, {"$ref": "#/missing"}, 7
    ]);
    let spec = json!({"openapi": "3.1.0", "paths": {"/a b/{path}": {"get": {"parameters": parameters}}},
        "components": {"parameters": {"Page": {"name": "page", "in": "query", "required": true}}}});
    let expected = "GET /a b/text?csv=1%2C2&deep%5Ba%5D=1&ids=1&ids=1&json=%5B1%5D&page=1&q=two+words | x-key: k, cookie: \
                    session=s";
    assert_eq!(lines(&spec, None), [expected]);
}

#[test]
fn a_value_in_a_path_cannot_become_another_path() {
    let spec = json!({"openapi": "3.0.0", "paths": {"/a/{b}/{c}/{d": {"get": {"parameters": [
        {"name": "b", "in": "path", "example": "x/../y?z#%"}, {"name": "c", "in": "path", "example": ["1", 2]}]}}}});
    let commands = lines(&spec, None);
    assert_eq!(commands, ["GET /a/x%2F..%2Fy%3Fz%23%25/1%2C2/d"]);
}

#[test]
fn json_bodies_come_from_examples_or_schemas() {
    let spec = json!({"openapi": "3.0.0", "paths": {
        "/a": {"post": {"requestBody": {"$ref": "#/components/requestBodies/Pet"}}},
        "/b": {"post": {"requestBody": {"content": {"application/xml": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}},
        "/c": {"patch": {"requestBody": {"content": {"application/merge-patch+json": {"examples": {"b": {"value": {"x": 1}}, "z": {}}}}}}},
        "/d": {"post": {"requestBody": {"content": {"application/json": {}}}}},
        "/e": {"get": {"requestBody": {"content": {"application/json": {}}}}},
        "/f": {"delete": {"requestBody": {"required": true, "content": {"*/*": {"schema": {"type": "array", "items": {"type": "integer"}}}}}}},
        "/g": {"post": {"requestBody": {"content": {"application/xml": {"schema": {"type": "object"}}}}}},
        "/h": {"post": {"requestBody": {"content": {"application/xml": {"example": "<a/>"}}}}},
        "/i": {"put": {"requestBody": {"content": {"image/jpeg": {}, "text/csv": {"example": "a,b"}}}}}},
        "components": {"requestBodies": {"Pet": {"content": {"application/json": {"example": {"name": "Rex"}}}}},
            "schemas": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}, "friend": {"$ref": "#/components/schemas/Pet"}}}}}});
    let expected = [
        "GET /e",
        r#"POST /a | content-type: application/json | {"name":"Rex"}"#,
        r#"POST /b | content-type: application/json | {"name":"text"}"#,
        r#"PATCH /c | content-type: application/merge-patch+json | {"x":1}"#,
        "POST /d | content-type: application/json | {}",
        "POST /g",
        "POST /h | content-type: application/xml | <a/>",
        "PUT /i | content-type: text/csv | a,b",
        "DELETE /f | content-type: application/json | [1]",
    ];
    assert_eq!(lines(&spec, None), expected);
}

#[test]
fn forms_have_a_field_for_each_property_and_a_file_for_each_that_is_binary() {
    let schema = json!({"allOf": [{"$ref": "#/base"}], "properties": {
        "photo": {"type": "string", "format": "binary"}, "notes": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "tags": {"type": "array", "minItems": 2, "items": {"type": "string"}}, "more": {"type": "object", "properties": {"a": {"type": "integer"}}}}});
    let spec = json!({"openapi": "3.0.0", "base": {"properties": {"name": {"type": "string"}}}, "paths": {
        "/m": {"post": {"requestBody": {"content": {"multipart/form-data": {"schema": schema, "encoding": {"photo": {"contentType": "image/gif, image/png"}}}}}}},
        "/u": {"post": {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"$ref": "#/base"}}, "multipart/form-data": {}}}}}}});
    let [multipart, urlencoded] = lines(&spec, None).try_into().unwrap();
    assert_eq!(urlencoded, "POST /u | content-type: application/x-www-form-urlencoded | name=text");
    let names: Vec<&str> =
        multipart.lines().filter_map(|line| line.strip_prefix("Content-Disposition: form-data; ")).collect();
    assert_eq!(
        names,
        [
            "name=\"more\"",
            "name=\"name\"",
            "name=\"notes\"; filename=\"file.txt\"",
            "name=\"photo\"; filename=\"file.gif\"",
            "name=\"tags\"",
            "name=\"tags\""
        ]
    );
    assert!(
        multipart.contains("Content-Type: image/gif\r\n\r\nGIF87a")
            && multipart.contains("\r\n\r\n{\"a\":1}\r\n")
    );
}

#[test]
fn swagger_2_has_its_base_path_bodies_and_forms_among_the_parameters() {
    let yaml = r##"
swagger: "2.0"
basePath: /v1/
consumes: [application/json]
paths:
  /pets/{id}:
    get:
      parameters:
        - {name: id, in: path, required: true, type: integer, minimum: 5}
        - {name: status, in: query, required: true, type: array, items: {type: string, enum: [sold, free]}, collectionFormat: multi}
        - {name: fields, in: query, required: true, type: array, minItems: 2, items: {type: string}, collectionFormat: pipes}
    post:
      consumes: [application/x-www-form-urlencoded]
      parameters: [{name: name, in: formData, type: string}, {name: age, in: formData, type: integer, default: 3}]
    put:
      parameters: [{name: body, in: body, schema: {$ref: "#/definitions/Pet"}}]
  /up:
    post:
      parameters: [{name: picture, in: formData, type: file}, {name: note, in: formData, type: string}]
definitions:
  Pet: {properties: {name: {type: string, example: Rex}}}
"##;
    let spec = ApiSpec::Fetched { path: "/swagger.yaml".to_owned(), prefix: None };
    let made: Vec<String> = spec.commands(yaml.as_bytes()).unwrap().iter().map(line).collect();
    assert_eq!(made[0], "GET /v1/pets/5?fields=text%7Ctext&status=sold");
    assert_eq!(
        made[1],
        "POST /v1/pets/1 | content-type: application/x-www-form-urlencoded | age=3&name=text"
    );
    assert_eq!(made[2], r#"PUT /v1/pets/1 | content-type: application/json | {"name":"Rex"}"#);
    assert!(made[3].starts_with("POST /v1/up | content-type: multipart/form-data; boundary="), "{}", made[3]);
    assert!(
        made[3].contains("name=\"picture\"; filename=\"file.txt\"")
            && made[3].contains("name=\"note\"\r\n\r\ntext")
    );
}

#[test]
fn a_server_named_relative_to_the_specification_is_found_from_there() {
    let spec = ApiSpec::fetched("/docs/api/openapi.json").unwrap();
    let base = |server: &str| {
        let spec_text =
            json!({"openapi": "3.0.0", "servers": [{"url": server}], "paths": {"/x": {"get": {}}}})
                .to_string();
        spec.commands(spec_text.as_bytes()).unwrap()[0].path.clone()
    };
    assert_eq!(base("../v1"), "/docs/v1/x");
    assert_eq!(base("./"), "/docs/api/x");
    assert_eq!(base("/"), "/x");
    assert_eq!(base("mailto:a@b"), "/x");
    assert_eq!(base("http://[broken"), "/x");
}

#[test]
fn flags_name_a_path_or_a_file_and_a_prefix() {
    let fetched = |text: &str| ApiSpec::fetched(text).unwrap();
    let expected = |prefix: Option<&str>| ApiSpec::Fetched {
        path: "/openapi.json".to_owned(),
        prefix: prefix.map(str::to_owned),
    };
    assert_eq!(fetched("/openapi.json"), expected(None));
    assert_eq!(fetched("/openapi.json:/api/v1/"), expected(Some("/api/v1")));
    assert_eq!(fetched("/openapi.json:api"), expected(Some("/api")));
    assert_eq!(fetched("/openapi.json:"), expected(Some("")));
    assert!(ApiSpec::fetched("openapi.json").unwrap_err().to_string().contains("\"openapi.json\""));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api:1.yaml");
    std::fs::write(&path, "openapi: 3.0.0\npaths: {/a: {get: {}}}\n").unwrap();
    let read = |prefix: &str| ApiSpec::read_file(&format!("{}{prefix}", path.display()));
    let ApiSpec::File { contents, prefix, .. } = read(":/v9").unwrap() else { panic!("not a file") };
    assert_eq!((prefix.as_deref(), contents.len()), (Some("/v9"), 38));
    assert!(matches!(read("").unwrap(), ApiSpec::File { prefix: None, .. }));
    assert!(
        ApiSpec::read_file("/missing.json:/v1")
            .unwrap_err()
            .to_string()
            .contains("/missing.json: No such file")
    );
    std::fs::write(&path, "openapi: 7").unwrap();
    assert!(read("").unwrap_err().to_string().ends_with("api:1.yaml: it is neither OpenAPI 3 nor Swagger 2"));
}

#[test]
fn a_hostile_specification_gives_a_bounded_number_of_bounded_commands() {
    let large = json!({"example": "x".repeat(900 << 10)});
    let body = json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/large"}}}}});
    let paths: serde_json::Map<String, Value> =
        (0..3000).map(|number| (format!("/{number}"), json!({"get": {}, "post": body}))).collect();
    let all_posts: serde_json::Map<String, Value> =
        (0..100).map(|number| (format!("/{number}"), json!({"post": body}))).collect();
    let many = lines(&json!({"openapi": "3.0.0", "large": large, "paths": paths}), None);
    assert!(many.len() == 1000 && many.iter().all(|line| line.starts_with("GET ")));
    let few = lines(&json!({"openapi": "3.0.0", "large": large, "paths": all_posts}), None);
    assert!((10..20).contains(&few.len()), "{}", few.len());
    let long = json!({"openapi": "3.0.0", "paths": {format!("/{}", "x".repeat(5000)): {"get": {}}, "/y": {"get": {}}}});
    assert_eq!(lines(&long, None), ["GET /y"]);
}

/// Any JSON, with the words that a specification is made of where names stand.
fn json_like_a_specification() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "properties",
        "items",
        "type",
        "format",
        "enum",
        "default",
        "example",
        "examples",
        "value",
        "required",
        "minimum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "minLength",
        "maxLength",
        "parameters",
        "name",
        "in",
        "schema",
        "content",
        "requestBody",
        "application/json",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "text/*",
        "image/*",
        "encoding",
        "contentType",
        "servers",
        "url",
        "variables",
        "get",
        "post",
        "delete",
        "/a/{b}",
        "consumes",
        "collectionFormat",
        "style",
        "readOnly",
        "contentMediaType",
    ]);
    let texts = prop::sample::select(vec![
        "object",
        "array",
        "string",
        "integer",
        "number",
        "file",
        "binary",
        "null",
        "path",
        "query",
        "header",
        "cookie",
        "body",
        "formData",
        "#/x",
        "#/paths",
        "#/x/properties/type",
        "#",
        "multi",
        "deepObject",
        "b",
        "é\n\"",
        "{",
        "application/json",
        "image/*, x",
        "http://[",
        "../..",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 120, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(words.clone(), inner, 0..8).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_and_yaml_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), head in "(openapi: 3\n|swagger: 2\n|\\{\"openapi\":\"3\",)?") {
        let spec = ApiSpec::Fetched { path: "/x".to_owned(), prefix: None };
        drop(spec.commands(&[head.as_bytes(), &bytes].concat()));
    }

    #[test]
    fn any_specification_gives_commands_that_can_be_sent(
        item in json_like_a_specification(), operation in json_like_a_specification(), x in json_like_a_specification(), is_new in any::<bool>(),
    ) {
        let version = if is_new { json!({"openapi": "3.1.0"}) } else { json!({"swagger": "2.0"}) };
        let mut spec = json!({"x": x, "paths": {"/item": item, "/{a}/{b": {"post": operation.clone(), "get": operation}}});
        spec.as_object_mut().unwrap().extend(version.as_object().unwrap().clone());
        let file = ApiSpec::File { path: "x".into(), contents: Vec::new(), prefix: None };
        let commands = file.commands(spec.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&commands, &file.commands(spec.to_string().as_bytes()).unwrap());
        for command in commands {
            let request = command.request(80, crate::Protocol::Http);
            prop_assert!(request.path.starts_with('/') && request.path.is_ascii());
            prop_assert!(crate::http::is_sendable(&request), "{:?}", request);
        }
    }
}
