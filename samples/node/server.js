'use strict';

const path = require('path');
const express = require('express');

const port = 8000;
const app = express();

app.disable('x-powered-by');
app.set('views', path.join(__dirname, 'views'));
app.set('view engine', 'ejs');
app.use(express.json());
app.use(express.urlencoded({ extended: false }));
app.use('/static', express.static(path.join(__dirname, 'public')));

app.get('/', (request, response) => {
  response.json({ status: 'success', info: 'yes!!!', service: 'node' });
});

app.get('/page', (request, response) => {
  response.render('page', { title: 'A page', visitors: ['Ada', 'Grace', 'Edsger'] });
});

app.get('/search', (request, response) => {
  response.render('search', { title: 'Search', query: String(request.query.q || '') });
});

// Loaded by the first call only: what nobody calls, nobody sees.
app.get('/lazy', (request, response) => {
  const { article } = require('./lib/lazy');
  response.type('html').send(article());
});

app.post('/echo', (request, response) => {
  response.status(201).json({ received: request.body });
});

app.use((request, response) => {
  response.status(404).json({ status: 'not found', path: request.path });
});

const server = app.listen(port, () => console.log(`listening on ${port}`));

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
