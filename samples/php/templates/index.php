<?php require __DIR__ . '/header.php'; ?>
<h1><?= htmlspecialchars($title) ?></h1>
<p><a href="/about">About</a></p>
</body>
</html>
