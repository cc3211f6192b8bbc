# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require "yaml"

# Settings of the Admin VM: defaults, then vagrant.yml, then the environment (HOMELAB_VM_MEMORY=4096).
module HomelabVM
  # Raised with every problem, in one line.
  class BadSettings < StandardError; end

  # What a setting may hold. Values of the environment are text and are read first; +takes+ judges values.
  Kind = Struct.new(:wish, :reader, :taker) do
    def read(text)
      reader ? reader.call(text) : text
    end

    def takes?(value)
      taker.call(value)
    end
  end

  # One forwarded port; the host listens on loopback only.
  Port = Struct.new(:host, :guest)

  WHOLE = ->(text) { text.match?(/\A\d+\z/) ? text.to_i : text }
  SWITCHES = { "true" => true, "false" => false }.freeze
  PORT = /\A(?:(\d{1,5}):)?(\d{1,5})\z/.freeze

  def self.number(range, unit)
    Kind.new("a whole number of #{unit} from #{range.first} to #{range.last}", WHOLE,
             ->(value) { value.is_a?(Integer) && range.cover?(value) })
  end

  def self.choice(*words)
    Kind.new("one of #{words.join(', ')}", nil, ->(value) { words.include?(value) })
  end

  def self.text(wish, pattern)
    Kind.new(wish, nil, ->(value) { value.is_a?(String) && value.match?(pattern) })
  end

  def self.port(entry)
    found = PORT.match(entry.to_s) or return nil
    guest = found[2].to_i
    host = found[1] ? found[1].to_i : guest
    # Below 1024 the host would need root.
    Port.new(host, guest) if host.between?(1024, 65_535) && guest.between?(1, 65_535)
  end

  SWITCH = Kind.new("true or false", ->(text) { SWITCHES.fetch(text, text) },
                    ->(value) { [true, false].include?(value) })
  PORTS = Kind.new("a list of ports of the VM, or of HOST:VM with host ports from 1024 on",
                   ->(text) { text.split(",").map(&:strip) },
                   ->(value) { value.is_a?(Array) && value.all? { |entry| port(entry) } })
  WORDS = Kind.new("a list of words", ->(text) { text.split },
                   ->(value) { value.is_a?(Array) && value.all?(String) })
  NAME = text("a name", /\A[\w.-]+\z/)
  LINE = text("text of one line", /\A\S.*\z/)

  # Every setting: what it may hold, and its default. nil stands for "not set".
  KNOWN = {
    "box" => [text("the name of a box, as bento/ubuntu-24.04", %r{\A[\w.-]+(/[\w.-]+)?\z}), "bento/ubuntu-24.04"],
    "box_version" => [LINE, nil],
    "cpus" => [number(1..64, "CPUs"), 2],
    "memory" => [number(512..262_144, "MB"), 2048],
    "linked_clone" => [SWITCH, true],
    "boot_timeout" => [number(60..3600, "seconds"), 300],
    "network" => [choice("nat", "bridge"), "nat"],
    "bridge" => [LINE, nil],
    "forwarded_ports" => [PORTS, [8443, 8080, 9000].freeze],
    "synced_folder" => [SWITCH, nil],
    "synced_folder_type" => [choice("virtualbox", "nfs", "rsync", "smb", "9p", "virtiofs"), nil],
    "provisioner" => [choice("ansible", "ansible_local", "none"), "ansible"],
    "provisioner_args" => [WORDS, [].freeze],
    "inventory" => [LINE, "inventory/homelab"],
    "usb_reader" => [text("VENDOR:PRODUCT in hexadecimal, in quotes, as lsusb shows it", /\A\h{4}:\h{4}\z/), nil],
    "virtualbox.gui" => [SWITCH, false],
    "libvirt.driver" => [choice("kvm", "qemu"), "kvm"],
    "libvirt.cpu_mode" => [choice("host-model", "host-passthrough", "custom"), nil],
    "libvirt.cpu_model" => [NAME, nil],
    "libvirt.uri" => [LINE, nil],
    "libvirt.storage_pool" => [NAME, nil],
    "vmware_desktop.gui" => [SWITCH, false]
  }.each_value(&:freeze).freeze

  PREFIX = "HOMELAB_VM_"
  # Names the file, where it is not vagrant.yml beside the Vagrantfile.
  FILE_VARIABLE = "HOMELAB_VM_FILE"

  # The settings, checked and frozen.
  class Settings
    def self.load(root, environment = ENV)
      new(root, environment)
    end

    def initialize(root, environment)
      @problems = []
      @values = KNOWN.transform_values(&:last)
      path = environment[FILE_VARIABLE] || File.join(root, "vagrant.yml")
      @problems << "#{FILE_VARIABLE} is #{path}: no such file" if environment[FILE_VARIABLE] && !File.file?(path)
      take_file(path) if File.file?(path)
      take_environment(environment)
      check_together(root) if @problems.empty?
      raise BadSettings, @problems.join("; ") unless @problems.empty?

      @values.freeze
      freeze
    end

    def [](name)
      @values.fetch(name)
    end

    def ports
      self["forwarded_ports"].map { |entry| HomelabVM.port(entry) }
    end

    # The project's folder is in the VM where it is asked for, and where Ansible runs inside.
    def synced_folder?
      self["synced_folder"].nil? ? self["provisioner"] == "ansible_local" : self["synced_folder"]
    end

    private

    def take_file(path)
      name = File.basename(path)
      found = YAML.safe_load(File.read(path, encoding: "UTF-8")) || {}
      return @problems << "#{name} must hold settings, as memory: 4096" unless found.is_a?(Hash)

      flat(found).each { |key, value| take(name, key, key, value) }
    rescue Psych::Exception, ArgumentError, SystemCallError => e
      @problems << "#{name} can't be read: #{e.message.lines.first.strip}"
    end

    def flat(tree)
      tree.flat_map do |key, value|
        groups = KNOWN.keys.any? { |known| known.start_with?("#{key}.") }
        next [[key.to_s, value]] unless groups
        next [] if value.nil?

        value.is_a?(Hash) ? value.map { |inner, each| ["#{key}.#{inner}", each] } : [["#{key}.", value]]
      end
    end

    def take_environment(environment)
      names = KNOWN.keys.to_h { |key| [PREFIX + key.tr(".", "_").upcase, key] }
      environment.each do |name, text|
        next if !name.start_with?(PREFIX) || name == FILE_VARIABLE || text.empty?

        key = names[name]
        take(name, name, key, key ? KNOWN[key].first.read(text) : text, names.keys)
      end
    end

    def take(source, written, key, value, others = KNOWN.keys)
      where = source == written ? written : "#{source}: #{written}"
      kind, = KNOWN[key]
      if kind.nil?
        @problems << "#{where}: not known#{nearest(written, others)}"
      elsif value.nil?
        # An empty value in the file: the default stays.
      elsif kind.takes?(value)
        @values[key] = value.freeze
      else
        @problems << "#{where} is #{value.inspect}: must be #{kind.wish}"
      end
    end

    def nearest(word, words)
      found = defined?(DidYouMean::SpellChecker) ? DidYouMean::SpellChecker.new(dictionary: words).correct(word) : []
      found.empty? ? "; known are #{words.join(', ')}" : "; did you mean #{found.first}?"
    end

    def check_together(root)
      bridged = self["network"] == "bridge"
      @problems << "network is bridge: bridge must name the host's interface, as eth0" if bridged && !self["bridge"]
      @problems << "bridge is #{self['bridge']}: only used with network: bridge" if self["bridge"] && !bridged
      if self["provisioner"] == "ansible_local" && self["synced_folder"] == false
        @problems << "synced_folder is false: ansible_local needs the folder in the VM"
      end
      twice = ports.group_by(&:host).select { |_, same| same.size > 1 }.keys
      @problems << "forwarded_ports has host port #{twice.join(', ')} more than once" unless twice.empty?
      inventory = File.expand_path(self["inventory"], root)
      @problems << "inventory is #{self['inventory']}: no such file or folder" unless File.exist?(inventory)
    end
  end
end
