<?php require __DIR__ . '/header.php'; ?>
<h1>About</h1>
<p id="query"><?= htmlspecialchars($query) ?></p>
</body>
</html>
