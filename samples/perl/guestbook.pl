#!/usr/bin/env perl
# A guest book; what only one path needs is loaded by its first call.
use Mojolicious::Lite -signatures;
use DBI;
use Mojo::File qw(curfile);
use Mojo::Loader qw(find_modules load_class);

app->secrets(['of this sample']);
app->mode('production');
app->log->level('warn');

helper database => sub {
    state %of;
    $of{$$} //= DBI->connect('dbi:SQLite:dbname=' . app->home->child('data/guestbook.db'), '', '',
        {RaiseError => 1, sqlite_unicode => 1});
};
helper entries => sub ($c) { $c->database->selectcol_arrayref('SELECT text FROM entries ORDER BY id') };

get '/health' => sub ($c) { $c->render(json => {status => 'ok'}) };
get '/'       => sub ($c) { $c->render('index', entries => $c->entries) };
get '/about'  => sub ($c) { $c->render('about', query => $c->param('q') // '') };
get '/entries' => sub ($c) { $c->render(json => $c->entries) };

post '/entries' => sub ($c) {
    my $text = ($c->req->json // {})->{text};
    return $c->render(json => {error => 'no text'}, status => 400) unless defined $text;
    $c->database->do('INSERT INTO entries (text) VALUES (?)', undef, $text);
    $c->render(json => {stored => $text}, status => 201);
};

# A feature is a module that its path names.
get '/feature/#name' => sub ($c) {
    my $class = 'Guestbook::' . ucfirst $c->param('name');
    if (my $error = load_class $class) {
        die $error if ref $error;
        return $c->reply->not_found;
    }
    $c->render(json => $class->answer($c));
};

# Whatever lies in a folder is a greeting: nothing names them.
get '/greetings' => sub ($c) {
    my %found;
    for my $module (sort(find_modules('Guestbook::Greeting'))) {
        if (my $error = load_class $module) { die $error }
        $found{lc $module =~ s/.*:://r} = $module->words;
    }
    $c->render(json => \%found);
};

get '/self' => sub ($c) {
    $c->render(json => {uid => $<, user => scalar getpwuid($<), notice => $ENV{GUESTBOOK_NOTICE}});
};

app->start;
