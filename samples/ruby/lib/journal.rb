# frozen_string_literal: true

require 'json'
require 'sinatra/base'
require 'sqlite3'

# Entries in a database; a feature is a file that is loaded when its path is first asked for.
class Journal < Sinatra::Base
  set :root, File.expand_path('..', __dir__)
  set :show_exceptions, false
  set :raise_errors, false

  helpers do
    def database
      SQLite3::Database.new(File.join(settings.root, 'data/journal.db'))
    end

    def feature(name)
      require File.join(settings.root, 'lib/features', name)
      Features.const_get(name.capitalize)
    end

    def reply(value)
      content_type :json
      JSON.generate(value)
    end
  end

  get('/health') { reply(status: 'ok') }
  get('/') { erb :index, locals: { entries: database.execute('SELECT text FROM entries ORDER BY id').flatten } }
  get('/about') { erb :about, locals: { query: params['q'].to_s } }
  get('/entries') { reply(database.execute('SELECT text FROM entries ORDER BY id').flatten) }

  post '/entries' do
    text = JSON.parse(request.body.read)['text'] or halt 400
    database.execute('INSERT INTO entries (text) VALUES (?)', [text])
    status 201
    reply(stored: text)
  rescue JSON::ParserError
    halt 400, 'no JSON'
  end

  get('/table') { reply(feature('table').new.rows(File.join(settings.root, 'data/people.csv'))) }
  get('/digest') { reply(feature('digest').new.of(params['text'].to_s)) }
  get('/page') { reply(feature('page').new.of(params['text'].to_s)) }
  get('/plain') { reply(feature('plain').new.of(File.join(settings.root, 'data/settings.yml'))) }

  # Whatever lies in a folder is a greeting: nothing names them.
  get '/greetings' do
    reply(Dir[File.join(settings.root, 'lib/greetings/*.rb')].sort.to_h { |file| [File.basename(file, '.rb'), eval(File.read(file))] })
  end

  get('/self') { reply(uid: Process.uid, motto: ENV.fetch('JOURNAL_MOTTO', nil), encoding: Encoding.default_external.name) }
  not_found { erb :missing }
end
