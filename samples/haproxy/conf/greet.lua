-- Answers with a greeting for the name in the query.
core.register_service("greet", "http", function(applet)
    local name = applet.qs:match("name=(%a+)") or "world"
    local body = "hello " .. name .. "\n"
    applet:set_status(200)
    applet:add_header("content-type", "text/plain")
    applet:add_header("content-length", #body)
    applet:start_response()
    applet:send(body)
end)
