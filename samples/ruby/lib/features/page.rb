# frozen_string_literal: true

require 'erb'
require 'rexml/document'
require 'time'

module Features
  # A text as XML, and a day in words.
  class Page
    def of(text)
      document = REXML::Document.new('<page/>')
      document.root.add_text(text)
      { xml: document.to_s, day: Time.iso8601('2024-07-01T12:00:00Z').httpdate, url: ERB::Util.url_encode(text) }
    end
  end
end
