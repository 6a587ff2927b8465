<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title><?= htmlspecialchars($title) ?></title><link rel="stylesheet" href="/static/style.css"></head>
<body>
