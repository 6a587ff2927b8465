# frozen_string_literal: true

require 'bigdecimal'
require 'yaml'

module Features
  # Settings in YAML, their prices added up exactly.
  class Plain
    def of(path)
      settings = YAML.safe_load(File.read(path))
      { name: settings['name'], sum: settings['prices'].sum { |price| BigDecimal(price) }.to_s('F') }
    end
  end
end
